//! Somebody touched a file that is running: what fanotify tells (`fanotify(7)`).

/// Somebody touched something marked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touch {
    /// The process; 0 for events that the kernel had no room for.
    pub pid: u32,
    /// The words of the file's handle, one of which is its inode number on the file systems that we know.
    handle: Vec<u32>,
}

impl Touch {
    /// One by a process of a file with these words in its handle.
    #[must_use]
    pub fn new(pid: u32, handle: Vec<u32>) -> Self {
        Self { pid, handle }
    }

    /// Whether the handle is that of a file with this inode number and generation (0 where the file
    /// system keeps none).
    #[must_use]
    pub fn is_of(&self, inode: u64, generation: u32) -> bool {
        let [a, b, c, d, ..] = inode.to_le_bytes();
        self.handle.contains(&u32::from_le_bytes([a, b, c, d]))
            && (generation == 0 || self.handle.contains(&generation))
    }
}

/// Understands what was read from a fanotify group; damage ends it.
///
/// `struct fanotify_event_metadata` up to its end, then the handle's record (`fanotify(7)`).
pub fn decode(mut bytes: &[u8], touches: &mut Vec<Touch>) {
    while let Some((head, _)) = bytes.split_at_checked(METADATA) {
        let word = |at: usize| {
            head.get(at..at + 4)
                .and_then(|word| word.first_chunk())
                .map_or(0, |word| u32::from_ne_bytes(*word))
        };
        let Some((event, rest)) = bytes.split_at_checked(word(0) as usize) else { return };
        if event.len() < METADATA {
            return;
        }
        // The record's own head, the file system's id, then size, type and words of the handle.
        let handle = event.get(METADATA + HANDLE_HEAD..).unwrap_or(&[]);
        touches.push(Touch::new(
            word(20),
            handle
                .chunks_exact(4)
                .filter_map(|word| word.first_chunk())
                .map(|word| u32::from_ne_bytes(*word))
                .collect(),
        ));
        bytes = rest;
    }
}

/// Bytes of an event's metadata.
const METADATA: usize = 24;
/// Bytes before the words of a handle in its record.
const HANDLE_HEAD: usize = 4 + 8 + 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_events_end_the_reading() {
        let mut event = [0_u8; 52];
        event[0] = 52;
        event[20] = 9;
        event[44] = 77;
        for len in 0..event.len() {
            let mut touches = Vec::new();
            decode(&event[..len], &mut touches);
            assert!(touches.is_empty());
        }
        let mut touches = Vec::new();
        decode(&event, &mut touches);
        assert_eq!(touches.len(), 1);
        assert!(touches[0].pid == 9 && touches[0].is_of(77, 0) && touches[0].is_of((1 << 32) | 77, 0));
        assert!(!touches[0].is_of(78, 0) && !touches[0].is_of(77, 5));
        decode(&[0; 64], &mut touches);
        assert_eq!(touches.len(), 1);
    }
}
