//! What each target does with its bytes. The sensor's tests include this file to do the same with
//! the corpus, without a fuzzer.

use sensor::event;
use sensor::kernel::btf::Btf;

/// Where `wire::Header` has the size of its record.
const SIZE: std::ops::RangeFrom<usize> = 24..;

/// Reads bytes as BTF and asks it everything there is to ask.
pub fn btf(bytes: &[u8]) {
    let Ok(btf) = Btf::parse(bytes) else { return };
    for name in ["task_struct", "kuid_t", "a"] {
        for path in ["flags", "se.load", "se.grid[1][3]", "right", "uid.val", "bit", "a[7].a", "a[1].b[2]"] {
            if let Some(member) = btf.offset(name, path) {
                assert!(member.bit_offset < 8, "{path}: {member:?}");
            }
        }
        let _ = btf.size_of_struct(name);
    }
    let _ = btf.params("vfs_unlink");
    let _ = btf.trace_params("sched_process_exit");
}

/// Reads bytes as one record from the kernel, and as the rows of a sweep.
pub fn decode(bytes: &[u8]) {
    let _ = event::decode(bytes);
    let rows = event::decode_rows(bytes).count();
    assert!(rows <= bytes.len(), "{rows} rows");
    // Most bytes say another size than they have; what lies behind that check is to be seen too.
    let mut record = bytes.to_vec();
    let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_ne_bytes();
    if let Some(place) = record.get_mut(SIZE).and_then(|place| place.first_chunk_mut()) {
        *place = size;
        let _ = event::decode(&record);
    }
}
