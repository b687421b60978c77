//! What etcd's clients send and get: gRPC over HTTP/2, and the few messages that are needed of its API
//! (`etcdserverpb`, etcd 3.4).

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio::net::TcpStream;

use super::Action;
use super::client::{Client, Doing};

/// A connection to one member.
pub(crate) struct Grpc {
    sender: SendRequest<Bytes>,
    authority: SocketAddr,
}

impl Grpc {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = h2::client::handshake(stream).await.map_err(io::Error::other)?;
        tokio::task::spawn(async move {
            // Whoever waits for an answer is told.
            let _ = connection.await;
        });
        Ok(Grpc { sender, authority: address })
    }

    async fn call(&mut self, method: &str, message: &[u8]) -> io::Result<()> {
        let request = Request::post(format!("http://{}/etcdserverpb.KV/{method}", self.authority))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .map_err(io::Error::other)?;
        let mut ready = self.sender.clone().ready().await.map_err(io::Error::other)?;
        let (answer, mut body) = ready.send_request(request, false).map_err(io::Error::other)?;
        // Not compressed, then the length (gRPC over HTTP2, "Length-Prefixed-Message").
        let length = u32::try_from(message.len()).map_err(io::Error::other)?;
        let framed = [&[0][..], &length.to_be_bytes(), message].concat();
        body.send_data(framed.into(), true).map_err(io::Error::other)?;
        let mut content = answer.await.map_err(io::Error::other)?.into_body();
        let mut seen = 0;
        while let Some(data) = content.data().await {
            let data = data.map_err(io::Error::other)?;
            seen += data.len();
            content.flow_control().release_capacity(data.len()).map_err(io::Error::other)?;
        }
        let trailers = content.trailers().await.map_err(io::Error::other)?.unwrap_or_default();
        match trailers.get("grpc-status").map(|status| status.as_bytes()) {
            Some(b"0") if seen > 5 => Ok(()),
            _ => Err(io::Error::other(format!("etcd answered {method} with {trailers:?}"))),
        }
    }
}

impl Client for Grpc {
    fn act<'a>(&'a mut self, action: Action, key: &'a str, value: &'a [u8]) -> Doing<'a, ()> {
        Box::pin(async move {
            match action {
                Action::Put => self.call("Put", &[field(1, key.as_bytes()), field(2, value)].concat()).await,
                Action::Read => self.call("Range", &field(1, key.as_bytes())).await,
                // serializable = 7
                Action::Local => {
                    self.call("Range", &[&field(1, key.as_bytes())[..], &[7 << 3, 1]].concat()).await
                }
            }
        })
    }
}

/// A field of bytes (Protocol Buffers, "Encoding").
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_has_its_number_and_length_before_it() {
        assert_eq!(field(1, b"a"), b"\x0a\x01a");
        assert_eq!(field(2, &[7; 300])[..3], [0x12, 0xac, 0x02]);
    }
}
