//! How connections end.

use super::connection::{Link, within};
use super::rewind::Io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Bytes thrown away before a connection is closed in any case.
const DISCARDED_BYTES_MAX: usize = 256 * 1024;

/// Says that nothing more comes, and closes.
pub(crate) async fn close<S: Io>(mut io: S, link: Link) {
    let limit = link.options.timeouts.linger;
    // A client that is gone already needs no goodbye.
    let _ = within(limit, io.shutdown()).await;
}

/// Says that nothing more comes, then reads until the client closes: closing with bytes unread would reset the
/// connection, and could take the response with it (RFC 9112 section 9.6).
pub(crate) async fn linger<S: Io>(mut io: S, link: Link) {
    let limit = link.options.timeouts.linger;
    let discard = async {
        if io.shutdown().await.is_err() {
            return;
        }
        let mut room = vec![0; 4096];
        let mut left = DISCARDED_BYTES_MAX;
        while let Ok(count @ 1..) = io.read(&mut room).await
            && count <= left
        {
            left -= count;
        }
    };
    let _ = within(limit, discard).await;
}
