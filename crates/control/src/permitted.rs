//! Answers that go on go on for as long as their token is good.

use crate::problem::Problem;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use http_body::{Body as _, Frame, SizeHint};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// How often a token is looked at again.
const EVERY: Duration = Duration::from_secs(1);

type Check = Pin<Box<dyn Future<Output = Result<(), Problem>> + Send>>;

/// Content that breaks off when its token was revoked.
pub(crate) struct Permitted {
    body: Body,
    check: Box<dyn Fn() -> Check + Send>,
    /// The next check, after a while.
    next: Check,
}

impl Permitted {
    /// `body`, unless all of it is there already; `check` fails when the token is not good any more.
    pub(crate) fn wrap<F>(body: Body, check: impl Fn() -> F + Send + 'static) -> Body
    where
        F: Future<Output = Result<(), Problem>> + Send + 'static,
    {
        if body.size_hint().exact().is_some() {
            return body;
        }
        let check = Box::new(move || {
            let checked = check();
            Box::pin(async move {
                tokio::time::sleep(EVERY).await;
                checked.await
            }) as Check
        });
        Body::new(Permitted { body, next: check(), check })
    }
}

impl http_body::Body for Permitted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        while let Poll::Ready(checked) = self.next.as_mut().poll(cx) {
            match checked {
                Err(problem) if is_final(&problem) => {
                    return Poll::Ready(Some(Err(axum::Error::new(problem.detail().to_owned()))));
                }
                // Nobody can be asked just now, or it is good still.
                _ => self.next = (self.check)(),
            }
        }
        Poll::Ready(ready!(Pin::new(&mut self.body).poll_frame(cx)))
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn is_final(problem: &Problem) -> bool {
    [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&problem.status())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test(start_paused = true)]
    async fn what_goes_on_ends_with_its_token_and_not_because_nobody_can_be_asked() {
        struct Endless;
        impl http_body::Body for Endless {
            type Data = Bytes;
            type Error = std::convert::Infallible;
            fn poll_frame(
                self: Pin<&mut Self>,
                _: &mut Context<'_>,
            ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
                Poll::Pending
            }
        }
        let checks = Arc::new(AtomicUsize::new(0));
        let counted = checks.clone();
        let mut body = Permitted::wrap(Body::new(Endless), move || {
            let number = counted.fetch_add(1, Ordering::Relaxed);
            async move {
                match number {
                    0 => Ok(()),
                    1 => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "cut off")),
                    _ => Err(Problem::unauthorized("the token was revoked")),
                }
            }
        });
        let ended = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        assert!(ended.unwrap().unwrap_err().to_string().contains("revoked"));
        assert_eq!(checks.load(Ordering::Relaxed), 3);
        let whole = Permitted::wrap(Body::from("all"), || async { panic!("not asked") });
        assert_eq!(axum::body::to_bytes(whole, 9).await.unwrap(), "all");
    }
}
