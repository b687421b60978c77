//! Limits of calls. What is beyond the limits of a peer is that peer's loss alone.

use std::time::Duration;

/// The longest name of a service, in bytes.
pub const NAME_BYTES_MAX: usize = 24;
/// The longest head of a frame, in bytes.
pub const HEAD_BYTES_MAX: usize = 1024;
/// The longest message of a question or an answer, in bytes. What is longer goes in a body.
pub const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// The longest text of a fault, in bytes; the rest is cut off.
pub const FAULT_TEXT_BYTES_MAX: usize = 512;
/// The largest datagram's content, in bytes: what `rt::links` allows, less the head.
pub const DATAGRAM_BYTES_MAX: usize = selvedge_rt::links::DATAGRAM_BYTES_MAX - 48;
/// How many datagrams wait for a link that is being made; the oldest goes for the next.
pub const DATAGRAMS_WAITING_MAX: usize = 16;
/// How many calls of consensus and probes one peer may have under way here, and this node there.
pub const URGENT_CALLS_MAX: usize = 64;
/// The same for other calls.
pub const NORMAL_CALLS_MAX: usize = 96;
/// The same for bulk transfers.
pub const BULK_CALLS_MAX: usize = 4;
/// How many bytes of one peer's questions are held at once; more are not read until others are done.
pub const QUESTION_BYTES_MAX: u32 = 32 << 20;
/// How long the head of a question may take after its first byte.
pub const HEAD_MAX: Duration = Duration::from_secs(5);
/// The longest time that a question may ask for; what is longer counts as this.
pub const DEADLINE_MAX: Duration = Duration::from_secs(600);
/// How long a body may stand still, at either end.
pub const STALL_MAX: Duration = Duration::from_secs(30);
/// How long a peer that did not answer is not called again.
pub const REDIAL_AFTER: Duration = Duration::from_millis(100);
/// How often in a row a fetch is taken up again without one more byte.
pub const RESUMES_MAX: u32 = 5;
