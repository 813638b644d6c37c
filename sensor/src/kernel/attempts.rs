//! Connects that were begun and of which the programs don't know yet what came.

use aya::maps::{Array, HashMap};

use super::{Kernel, KernelError};

/// One, as it lies in the map: see `event::socket::attempt::begun`.
type Begun = [u64; 22];

/// As many as the map holds. Where connects come and go all the time a look would never end otherwise.
const MOST: usize = 8192;

impl Kernel {
    fn begun(&self) -> Option<HashMap<&aya::maps::MapData, u64, Begun>> {
        self.ebpf.map("ATTEMPTS").and_then(|map| HashMap::try_from(map).ok())
    }

    /// Whether there are any. The map is looked at only when one was begun since it was last empty.
    #[must_use]
    pub fn has_attempts(&mut self) -> bool {
        // Before the map is looked at: what is begun meanwhile is seen the next time.
        let count = self.ebpf.map("BEGUN").and_then(|map| Array::try_from(map).ok()?.get(&0, 0).ok());
        if count.is_some() && count == self.no_attempts {
            return false;
        }
        let any = self.begun().is_some_and(|map| map.keys().next().is_some());
        self.no_attempts = count.filter(|_| !any);
        any
    }

    /// All of them, some more than once: when one ends while it is looked at, the kernel begins anew.
    #[must_use]
    pub fn attempts(&self) -> Vec<Begun> {
        self.begun()
            .map(|map| map.iter().take(MOST).filter_map(Result::ok).map(|(_, begun)| begun).collect())
            .unwrap_or_default()
    }

    /// Those whose sockets are open and whose calls are over, with what came of them, as records of kind
    /// `socket_attempt`; none when the kernel refused that program.
    ///
    /// # Errors
    /// When the kernel can't be asked.
    pub fn look_at_attempts(&mut self, rows: &mut Vec<u8>) -> Result<(), KernelError> {
        rows.clear();
        match self.ebpf.program("socket_attempts").is_some_and(|program| program.fd().is_ok()) {
            true => self.read_iterator("socket_attempts", rows).map_err(KernelError::Tasks),
            false => Ok(()),
        }
    }

    /// Takes the one of a socket that was begun at this time away from the programs, which then don't tell it;
    /// false when they have.
    pub fn take_attempt(&mut self, cookie: u64, time: u64) -> bool {
        let map = self.ebpf.map_mut("ATTEMPTS").map(HashMap::<_, u64, Begun>::try_from);
        let Some(Ok(mut map)) = map else { return false };
        let same = map.get(&cookie, 0).is_ok_and(|[began, ..]| began == time);
        same && map.remove(&cookie).is_ok()
    }
}
