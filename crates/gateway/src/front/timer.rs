//! One deadline that moves often and is reached seldom.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::time::{Instant, Sleep};

/// A deadline. Moving it later costs nothing: the runtime's timer stays where it is, and is armed again when
/// it fires too early. So a busy connection touches the timer once in a keep-alive time, not at each request.
#[derive(Debug)]
pub(crate) struct Timer {
    armed: Pin<Box<Sleep>>,
    deadline: Instant,
}

impl Timer {
    pub(crate) fn new(deadline: Instant) -> Timer {
        Timer { armed: Box::pin(tokio::time::sleep_until(deadline)), deadline }
    }

    /// Moves the deadline.
    pub(crate) fn set(&mut self, deadline: Instant) {
        self.deadline = deadline;
        if deadline < self.armed.deadline() {
            self.armed.as_mut().reset(deadline);
        }
    }

    /// Ready when the deadline is there.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.armed.as_mut().poll(cx));
            if self.armed.deadline() >= self.deadline {
                return Poll::Ready(());
            }
            let deadline = self.deadline;
            self.armed.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn the_last_deadline_set_counts_whether_later_or_earlier() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut timer = Timer::new(at(10));
        timer.set(at(30));
        poll_fn(|cx| timer.poll(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 30);
        timer.set(at(100));
        timer.set(at(40));
        poll_fn(|cx| timer.poll(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 40);
    }
}
