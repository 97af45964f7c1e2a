//! Giving back memory that an idle shim does not use.

use std::ptr;

unsafe extern "C" {
    // The linker's names for where the program's file begins in memory, and
    // where its code ends (end(3)).
    static __executable_start: u8;
    static etext: u8;
}

/// Lets go of the program's own pages that making a container touched. They
/// are the file's, unwritten, and come back from the page cache when needed.
pub(super) fn release_program() {
    const PAGE: usize = 4096;
    let start = (&raw const __executable_start)
        .addr()
        .next_multiple_of(PAGE);
    let end = (&raw const etext).addr() & !(PAGE - 1);
    if start >= end {
        return;
    }
    // SAFETY: the range is whole pages of the program's code and what the
    // linker put before it, private mappings of its file that nothing writes:
    // relocated data lies behind the code. Dropped pages are read again.
    unsafe {
        libc::madvise(
            ptr::with_exposed_provenance_mut(start),
            end - start,
            libc::MADV_DONTNEED,
        );
        // What the allocator keeps of freed memory goes too.
        libc::malloc_trim(0);
    }
}
