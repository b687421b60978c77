//! Content codings made here: a whole body at once, or a stream as it passes.

use bytes::Bytes;
use selvedge_exchange::{Body, BodyError, BodyStream, Frame};
use selvedge_types::resource::Coding;
use std::io::{self, Write};
use std::task::{Context, Poll, ready};

/// How hard to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Once, to be served many times.
    Stored,
    /// For one answer that someone waits for.
    Passing,
}

/// The largest window, as its base-2 logarithm, that a zstd stream of ours asks a decoder to hold: 1 MiB,
/// well below the 8 MiB that every decoder must support (RFC 9659).
const ZSTD_WINDOW_LOG: u32 = 20;
const BROTLI_BUFFER: usize = 4096;
const BROTLI_WINDOW_LOG: u32 = 20;

enum Encoder {
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
}

impl Encoder {
    fn new(coding: Coding, effort: Effort) -> io::Result<Self> {
        let stored = effort == Effort::Stored;
        Ok(match coding {
            Coding::Zstd => {
                let mut zstd = zstd::stream::write::Encoder::new(Vec::new(), if stored { 9 } else { 3 })?;
                zstd.window_log(ZSTD_WINDOW_LOG)?;
                Encoder::Zstd(zstd)
            }
            Coding::Br => {
                let quality = if stored { 6 } else { 4 };
                let writer =
                    brotli::CompressorWriter::new(Vec::new(), BROTLI_BUFFER, quality, BROTLI_WINDOW_LOG);
                Encoder::Brotli(Box::new(writer))
            }
            Coding::Gzip => {
                let level = flate2::Compression::new(if stored { 6 } else { 4 });
                Encoder::Gzip(flate2::write::GzEncoder::new(Vec::new(), level))
            }
        })
    }

    /// Takes content in; gives out what is ready after it, flushed so that a client sees it.
    fn push(&mut self, data: &[u8]) -> io::Result<Vec<u8>> {
        fn through<W: Write>(writer: &mut W, data: &[u8]) -> io::Result<()> {
            writer.write_all(data)?;
            writer.flush()
        }
        match self {
            Encoder::Zstd(w) => {
                through(w, data)?;
                Ok(std::mem::take(w.get_mut()))
            }
            Encoder::Brotli(w) => {
                through(w.as_mut(), data)?;
                Ok(std::mem::take(w.get_mut()))
            }
            Encoder::Gzip(w) => {
                through(w, data)?;
                Ok(std::mem::take(w.get_mut()))
            }
        }
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Encoder::Zstd(w) => w.finish(),
            Encoder::Brotli(w) => Ok(w.into_inner()),
            Encoder::Gzip(w) => w.finish(),
        }
    }
}

/// `content` in `coding`. Takes milliseconds for a megabyte: not for a data-plane thread.
pub fn compress(coding: Coding, content: &[u8]) -> io::Result<Bytes> {
    let mut encoder = Encoder::new(coding, Effort::Stored)?;
    match &mut encoder {
        Encoder::Zstd(w) => w.write_all(content)?,
        Encoder::Brotli(w) => w.write_all(content)?,
        Encoder::Gzip(w) => w.write_all(content)?,
    }
    Ok(encoder.finish()?.into())
}

/// `body`, compressed as it passes. Its length is unknown; trailers pass.
pub fn compressed(coding: Coding, body: Body) -> io::Result<Body> {
    let encoder = Encoder::new(coding, Effort::Passing)?;
    Ok(Body::Stream(Box::new(Compressed { body, encoder: Some(encoder), trailers: None })))
}

struct Compressed {
    body: Body,
    /// None once finished.
    encoder: Option<Encoder>,
    trailers: Option<selvedge_types::Fields>,
}

impl Compressed {
    /// Ends the coding: its last bytes, or the trailers if there are none.
    fn finish(&mut self) -> Option<Result<Frame, BodyError>> {
        match self.encoder.take()?.finish() {
            Ok(rest) if rest.is_empty() => self.trailers.take().map(|t| Ok(Frame::Trailers(t))),
            Ok(rest) => Some(Ok(Frame::Data(rest.into()))),
            Err(_) => Some(Err(BodyError::Malformed("the content could not be compressed"))),
        }
    }
}

impl BodyStream for Compressed {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let Some(encoder) = &mut self.encoder else {
            return Poll::Ready(self.trailers.take().map(|t| Ok(Frame::Trailers(t))));
        };
        loop {
            match ready!(self.body.poll_frame(cx)) {
                Some(Ok(Frame::Data(data))) => match encoder.push(&data) {
                    Ok(out) if out.is_empty() => {}
                    Ok(out) => return Poll::Ready(Some(Ok(Frame::Data(out.into())))),
                    Err(_) => {
                        self.encoder = None;
                        let error = BodyError::Malformed("the content could not be compressed");
                        return Poll::Ready(Some(Err(error)));
                    }
                },
                Some(Ok(Frame::Trailers(trailers))) => {
                    self.trailers = Some(trailers);
                    return Poll::Ready(self.finish());
                }
                Some(Err(error)) => {
                    self.encoder = None;
                    return Poll::Ready(Some(Err(error)));
                }
                None => return Poll::Ready(self.finish()),
            }
        }
    }

    fn length(&self) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    const ALL: [Coding; 3] = [Coding::Zstd, Coding::Br, Coding::Gzip];

    fn decode(coding: Coding, coded: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        match coding {
            Coding::Zstd => zstd::stream::copy_decode(coded, &mut plain).unwrap(),
            Coding::Br => drop(brotli::BrotliDecompress(&mut &coded[..], &mut plain).map(|()| 0).unwrap()),
            Coding::Gzip => drop(flate2::read::GzDecoder::new(coded).read_to_end(&mut plain).unwrap()),
        }
        plain
    }

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|i| b"the edge of a cloth "[i % 20]).collect()
    }

    #[test]
    fn a_whole_body_comes_back_and_is_smaller() {
        for coding in ALL {
            for len in [0, 1, 100_000] {
                let plain = content(len);
                let coded = compress(coding, &plain).unwrap();
                assert_eq!(decode(coding, &coded), plain, "{coding:?} {len}");
                assert!(len < 1000 || coded.len() < len / 10);
            }
        }
    }

    struct Chunks(Vec<Bytes>);
    impl BodyStream for Chunks {
        fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
            Poll::Ready((!self.0.is_empty()).then(|| Ok(Frame::Data(self.0.remove(0)))))
        }
        fn length(&self) -> Option<u64> {
            None
        }
    }

    #[tokio::test]
    async fn a_stream_comes_back_and_each_piece_goes_out_at_once() {
        for coding in ALL {
            let plain = content(50_000);
            let pieces: Vec<_> = plain.chunks(7_000).map(Bytes::copy_from_slice).collect();
            let count = pieces.len();
            let mut body = compressed(coding, Body::Stream(Box::new(Chunks(pieces)))).unwrap();
            let mut coded = Vec::new();
            let mut frames = 0;
            while let Some(frame) = body.frame().await {
                if let Frame::Data(data) = frame.unwrap() {
                    coded.extend_from_slice(&data);
                    frames += 1;
                }
            }
            assert_eq!(decode(coding, &coded), plain, "{coding:?}");
            assert!(frames >= count, "{coding:?}: {frames} frames for {count} pieces");
        }
    }
}
