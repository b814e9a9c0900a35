//! The status of a host call, and the data that it returns.

/// Fails with the status unless it is "ok".
pub(super) fn check(status: u32) -> Result<(), u32> {
    if status == OK { Ok(()) } else { Err(status) }
}

/// Data that the host leaves in memory.
pub(super) struct Returned {
    pub(super) data: *mut u8,
    pub(super) size: usize,
}

impl Returned {
    pub(super) const NOTHING: Self = Self { data: std::ptr::null_mut(), size: 0 };

    /// Takes ownership of the data; fails with the status unless that is "ok".
    pub(super) fn take(self, status: u32) -> Result<Vec<u8>, u32> {
        check(status)?;
        if self.data.is_null() {
            return Ok(Vec::new());
        }
        // SAFETY: the SDK exports `proxy_on_memory_allocate`, which gives the host a vector of just
        // this capacity, and the host has filled it.
        Ok(unsafe { Vec::from_raw_parts(self.data, self.size, self.size) })
    }
}

const OK: u32 = 0;
/// Nothing has that name, number or kind.
pub(in crate::plugin) const BAD_ARGUMENT: u32 = 2;
/// Compare-and-swap failed: the version is outdated.
pub(in crate::plugin) const CAS_MISMATCH: u32 = 8;
/// The host withholds the function.
pub(in crate::plugin) const INTERNAL_FAILURE: u32 = 10;
/// The host does not know the function.
pub(in crate::plugin) const UNIMPLEMENTED: u32 = 12;
