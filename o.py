import asyncio
B=b'x'*1024
async def h(r,w):
    try:
        while True:
            await r.readuntil(b'\r\n\r\n')
            w.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1024\r\nCache-Control: public, max-age=86400\r\nETag: "a"\r\n\r\n'+B)
            await w.drain()
    except Exception: w.close()
async def main():
    s=await asyncio.start_server(h,'127.0.0.1',18399)
    async with s: await s.serve_forever()
asyncio.run(main())
