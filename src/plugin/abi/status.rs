//! The status that each host call ends with, and what it leaves in memory.

/// The status if it is not "ok".
pub(super) fn check(status: u32) -> Result<(), u32> {
    if status == OK { Ok(()) } else { Err(status) }
}

/// What a call has the host leave in memory.
pub(super) struct Returned {
    pub(super) data: *mut u8,
    pub(super) size: usize,
}

impl Returned {
    pub(super) const NOTHING: Self = Self { data: std::ptr::null_mut(), size: 0 };

    /// Takes it over, or the status if that is not "ok".
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
/// There is nothing of that name, number or kind.
pub(in crate::plugin) const BAD_ARGUMENT: u32 = 2;
/// A version that is not there any more.
pub(in crate::plugin) const CAS_MISMATCH: u32 = 8;
/// The host withholds the function.
pub(in crate::plugin) const INTERNAL_FAILURE: u32 = 10;
/// The host does not know the function.
pub(in crate::plugin) const UNIMPLEMENTED: u32 = 12;
