//! Keys that are pressed on the terminal, one at a time and without Enter.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use selvedge_rt::{OnEnd, Tasks};
use std::io::{self, IsTerminal};
use tokio::sync::mpsc;

/// How often it is looked whether the program ends while waiting for a key.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
/// How many keys wait; more are ignored.
const WAITING_MAX: usize = 16;

/// The terminal, as long as it gives single keys.
pub(super) struct Keys {
    pressed: mpsc::Receiver<u8>,
    _mode: Mode,
}

/// Takes the terminal's modes back at its end.
struct Mode(Termios);

impl Drop for Mode {
    fn drop(&mut self) {
        // The terminal may be gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

impl Keys {
    /// Reads keys from now on; none where standard input is no terminal, or nobody sees what they do.
    pub(super) fn listen(tasks: &Tasks) -> Option<Self> {
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return None;
        }
        let before = tcgetattr(io::stdin()).ok()?;
        let mut modes = before.clone();
        modes.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Now, &modes).ok()?;
        let (press, pressed) = mpsc::channel(WAITING_MAX);
        let (reading, stopping) = (tasks.clone(), tasks.clone());
        tasks.spawn("keys", OnEnd::Forget, async move {
            // A terminal that is gone has no more keys.
            let _ = reading.blocking("read keys", move || read(&press, &stopping)).await;
        });
        Some(Keys { pressed, _mode: Mode(before) })
    }

    /// The next key; never returns when there will be none. Cancel-safe.
    pub(super) async fn next(&mut self) -> u8 {
        match self.pressed.recv().await {
            Some(key) => key,
            None => std::future::pending().await,
        }
    }
}

fn read(press: &mpsc::Sender<u8>, tasks: &Tasks) {
    let stdin = io::stdin();
    while !tasks.is_stopping() {
        let mut ready = [PollFd::new(&stdin, PollFlags::IN)];
        if !poll(&mut ready, Some(&LOOK_EVERY)).is_ok_and(|n| n > 0) {
            continue;
        }
        let mut keys = [0; 32];
        match rustix::io::read(&stdin, &mut keys) {
            Ok(n @ 1..) => {
                for key in keys.iter().take(n) {
                    // One too many is ignored.
                    let _ = press.try_send(*key);
                }
            }
            Ok(_) | Err(_) => return,
        }
    }
}
