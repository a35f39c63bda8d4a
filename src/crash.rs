//! Named places at which a test lets this server die, as a power cut would, or stand still.
//!
//! Compiled in only with the feature `crash-points`; otherwise [`point`] is nothing.

/// All points, in the order in which a request passes them.
pub const POINTS: [&str; 13] = [
    "reserve.before_hold",
    "reserve.after_hold",
    "reserve.before_give_back",
    "reserve.after_give_back",
    "reserve.after_confirm",
    "pay.before_begin",
    "pay.after_begin",
    "money.before_second_copy",
    "pay.before_cancel",
    "pay.after_cancel",
    "pay.outcome_unknown",
    "pay.after_commit",
    "pay.after_finish",
];

/// Kills this process with `SIGKILL` if `ONSALE_CRASH_AT` is `name`, and stops it with `SIGSTOP` if
/// `ONSALE_STOP_AT` is.
#[cfg(feature = "crash-points")]
pub fn point(name: &str) {
    use rustix::process::{Signal, getpid, kill_process};
    let is_here = |variable: &str| std::env::var(variable).is_ok_and(|at| at == name);
    if is_here("ONSALE_CRASH_AT") {
        // No destructor, no flush and no answer: nothing in this process may run any more.
        let _ = kill_process(getpid(), Signal::KILL);
    }
    if is_here("ONSALE_STOP_AT") {
        let _ = kill_process(getpid(), Signal::STOP);
        // Another thread may be the one that takes the signal; this one goes no further before.
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Nothing: crash points are compiled in only with the feature `crash-points`.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub fn point(_name: &str) {}
