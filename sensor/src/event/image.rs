//! One live process as a sweep shows it; `process_snapshot` and names lost unseen come of it.

use sensor_common::wire;

use super::{Running, Tail};

/// What it is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// The file; inode 0 for a kernel thread.
    pub running: Running,
    /// Whether some thread of it still lives; if not, it waits to be reaped.
    pub alive: bool,
}

pub(super) fn decode(body: &wire::image::Image, _: &Tail<'_>, flags: u16) -> Image {
    Image { running: body.running, alive: flags & wire::image::Image::ALIVE != 0 }
}
