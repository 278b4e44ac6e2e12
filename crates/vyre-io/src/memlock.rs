//! Whether that much memory may be pinned: registered buffers count against the memlock limit.

use rustix::process::{Resource, getrlimit};

/// Too little memory may be locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{needed} bytes must be locked in memory, {limit} are allowed, {missing} are missing; raise the limit (ulimit -l {kib}, \
     LimitMEMLOCK= in systemd, --ulimit memlock={needed} in a container) or use fewer or smaller blocks",
    kib = needed.div_ceil(1024)
)]
pub struct MemlockError {
    /// Bytes needed.
    pub needed: u64,
    /// Bytes allowed.
    pub limit: u64,
    /// The difference.
    pub missing: u64,
}

/// Checks that `needed` bytes can be registered with io_uring.
///
/// The limit binds processes without `CAP_IPC_LOCK` (Linux 5.12 and later account registered buffers to it).
///
/// # Errors
/// [`MemlockError`] names what is missing and how to raise the limit.
pub fn memlock_preflight(needed: u64) -> Result<(), MemlockError> {
    let limit = if may_lock_any() { None } else { getrlimit(Resource::Memlock).current };
    check(needed, limit)
}

fn check(needed: u64, limit: Option<u64>) -> Result<(), MemlockError> {
    match limit {
        Some(limit) if limit < needed => Err(MemlockError { needed, limit, missing: needed - limit }),
        _ => Ok(()),
    }
}

/// Whether the process has `CAP_IPC_LOCK` (bit 14 of its effective capabilities).
fn may_lock_any() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).is_some_and(|mask| mask >> 14 & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_missing_amount_and_the_remedy_are_named() {
        assert_eq!(check(8 << 20, None), Ok(()));
        assert_eq!(check(8 << 20, Some(8 << 20)), Ok(()));
        let error = check((8 << 20) + 1, Some(8 << 20)).unwrap_err();
        assert_eq!(error.missing, 1);
        assert!(error.to_string().contains("ulimit -l 8193"), "{error}");
    }
}
