//! One live process as a sweep shows it; `process_snapshot` and names lost unseen come of it.

use sensor_common::wire;

use super::{Running, Tail};

/// What it is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// The file; inode 0 for a kernel thread.
    pub running: Running,
    /// Whether some thread of it still lives.
    pub alive: bool,
    /// Whether none does and its end may not be told yet; if not, it waits to be reaped.
    pub ending: bool,
}

pub(super) fn decode(body: &wire::image::Image, _: &Tail<'_>, flags: u16) -> Image {
    let has = |flag| flags & flag != 0;
    Image {
        running: body.running,
        alive: has(wire::image::Image::ALIVE),
        ending: has(wire::image::Image::ENDING),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_on_its_way_out_neither_lives_nor_waits() {
        let image = |flags| {
            let image = decode(&wire::image::Image::default(), &Tail(&[]), flags);
            (image.alive, image.ending)
        };
        assert_eq!(image(0), (false, false));
        assert_eq!(image(wire::image::Image::ALIVE), (true, false));
        assert_eq!(image(wire::image::Image::ENDING), (false, true));
    }
}
