//! Limits of the driver, beside those of the core (`membership::limits`).

use std::time::Duration;

/// Datagrams that wait for the driver; more are dropped, as the network might have done.
pub const INBOX_MAX: usize = 1_024;
/// Datagrams that are taken in before timers are looked at again.
pub const BATCH_MAX: usize = 128;
/// Orders that wait for the driver; who gives more waits.
pub const ORDERS_MAX: usize = 64;
/// Least time between two views: what changes meanwhile is seen at once.
pub const VIEW_PERIOD_MIN: Duration = Duration::from_millis(10);
/// Most time between two views: load and round trips change without being news.
pub const VIEW_PERIOD_MAX: Duration = Duration::from_secs(1);
/// Least time between two lines in the log about refused frames.
pub const REFUSALS_LOGGED_PERIOD: Duration = Duration::from_secs(10);
