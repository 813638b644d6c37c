//! Connections that the programs keep for user space, and whether the kernel still has them.

use aya::maps::{HashMap, MapData, MapError};
use sensor_common::ask::datagram;

use super::{Kernel, KernelError, plan, traffic};
use crate::event::socket::KEPT;

/// `BPF_NOEXIST` (`include/uapi/linux/bpf.h`).
const NO_EXIST: u64 = 1;
/// Most connections that are looked at in a round.
const UNTAKEN_MOST: usize = 16384;

impl Kernel {
    /// Cookies of the connections that no process has taken yet, as far as the programs know.
    #[must_use]
    pub fn untaken(&self) -> Vec<u64> {
        let map = self.ebpf.map("UNTAKEN").map(HashMap::<_, u64, [u64; KEPT]>::try_from);
        let Some(Ok(map)) = map else { return Vec::new() };
        map.keys().filter_map(Result::ok).take(UNTAKEN_MOST).collect()
    }

    /// Has the programs tell the end of a datagram socket that a look found; false when there is no room for it.
    pub fn remember_datagram(&mut self, cookie: u64) -> bool {
        let Some(mut map) = self.datagrams() else { return false };
        // What a program remembers meanwhile stays.
        map.insert(cookie, datagram::FOUND, NO_EXIST).is_ok() || map.get(&cookie, 0).is_ok()
    }

    /// Forgets one that a look found and that was closed meanwhile; what a program remembered itself stays.
    pub fn forget_datagram(&mut self, cookie: u64) {
        let Some(mut map) = self.datagrams() else { return };
        if map.get(&cookie, 0).is_ok_and(|how| how == datagram::FOUND) {
            // It may be gone by now.
            let _: Result<(), MapError> = map.remove(&cookie);
        }
    }

    fn datagrams(&mut self) -> Option<HashMap<&mut MapData, u64, u32>> {
        HashMap::try_from(self.ebpf.map_mut("DATAGRAMS")?).ok()
    }

    /// Takes one of them away from the programs, which then don't tell it: its `Socket`, unless a program
    /// has told it meanwhile.
    pub fn take_untaken(&mut self, cookie: u64) -> Option<[u64; KEPT]> {
        let map = self.ebpf.map_mut("UNTAKEN")?;
        let mut map = HashMap::<_, u64, [u64; KEPT]>::try_from(map).ok()?;
        let body = map.get(&cookie, 0).ok()?;
        map.remove(&cookie).ok().map(|()| body)
    }

    /// Whether it can be asked which connections are still there.
    #[must_use]
    pub fn knows_gone(&self) -> bool {
        self.sees(plan::UNTOLD_ENDS) && self.tells_traffic()
    }

    /// Which of these connections the kernel has no counters of, or none any more.
    ///
    /// # Errors
    /// When the kernel can't be asked.
    pub fn gone_sockets(&mut self, cookies: &[u64]) -> Result<Vec<u64>, KernelError> {
        traffic::gone(&mut self.ebpf, cookies).map_err(KernelError::Traffic)
    }
}
