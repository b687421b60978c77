import socket,sys
a,b=int(sys.argv[1]),int(sys.argv[2])
s=socket.create_connection(('127.0.0.1',18398))
N=50
buf=b''
for i in range(a,b,N):
    s.sendall(b''.join(b'GET /1024/%d HTTP/1.1\r\nHost: bench.test\r\n\r\n'%j for j in range(i,i+N)))
    n=0
    while n<N:
        buf=s.recv(1<<20)
        n+=buf.count(b'HTTP/1.1 200')
