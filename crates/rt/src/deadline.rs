//! A deadline that moves often and rarely passes.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::{Instant, Sleep, sleep_until};

/// A deadline whose timer is registered late and moved rarely: when a later deadline replaces an earlier one, the
/// timer goes off at the earlier and is then set to the later. A connection with many short requests so touches the
/// runtime's timers about once in the time allowed for one, not at each request.
#[derive(Debug, Default)]
pub struct Deadline {
    due: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// A deadline at `due`.
    pub fn at(due: Instant) -> Self {
        Deadline { due: Some(due), timer: None }
    }

    /// Replaces the deadline; `None` never passes.
    pub fn set(&mut self, due: impl Into<Option<Instant>>) {
        self.due = due.into();
    }

    /// Ready once the deadline has passed. Must be polled again after it was set.
    pub fn poll_passed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(due) = self.due else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() > due {
            timer.as_mut().reset(due);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn it_passes_when_the_last_value_set_is_reached() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let mut deadline = Deadline::at(at(1));
        for (steps, passes) in [(vec![5], 5), (vec![9, 20, 30], 30), (vec![60, 40], 40)] {
            for step in steps {
                deadline.set(at(step));
                let passed = poll_fn(|cx| Poll::Ready(deadline.poll_passed(cx))).await;
                assert!(passed.is_pending());
            }
            poll_fn(|cx| deadline.poll_passed(cx)).await;
            assert_eq!(start.elapsed().as_secs(), passes);
        }
        deadline.set(None);
        assert!(poll_fn(|cx| Poll::Ready(deadline.poll_passed(cx))).await.is_pending());
    }
}
