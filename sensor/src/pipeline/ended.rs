//! Ends of connections that no program told: found by looks, as what no process has open and the kernel has no more.
//!
//! What is not there at a look, and of which the rings have told nothing until the next, has ended untold.

use std::collections::HashSet;

use super::{Pipeline, PipelineError};
use crate::event::{
    Key, Stamp,
    socket::{self, Socket},
};

impl Pipeline<'_> {
    /// A look showed who has which sockets open: which of the others are gone, and may be told by the rings yet. Only
    /// those are asked for that the look before didn't show either, as most are told meanwhile; `last`: all.
    pub(super) fn doubt_connections(
        &mut self,
        rows: &[(Key, u32, Socket)],
        last: bool,
    ) -> Result<(), PipelineError> {
        if !self.kernel.knows_gone() {
            return Ok(());
        }
        let open: HashSet<u64> = rows.iter().map(|(.., socket)| socket.cookie).collect();
        let doubted: HashSet<u64> = self.sockets.not_among(&open).collect();
        let before = std::mem::replace(&mut self.looks.doubted, doubted);
        let asked = self.looks.doubted.iter().filter(|cookie| last || before.contains(cookie));
        let asked: Vec<u64> = asked.copied().collect();
        if !asked.is_empty() {
            self.looks.gone.extend(self.kernel.gone_sockets(&asked)?);
        }
        Ok(())
    }

    /// The rings have told what they had before: what was gone at a look then, and is not told, has ended untold.
    pub(super) fn tell_gone(&mut self) -> Result<(), PipelineError> {
        let time = self.host.boot_now();
        for cookie in std::mem::take(&mut self.looks.gone) {
            let Some(ends) = self.sockets.known(cookie).and_then(|known| known.ends) else { continue };
            self.counts.found(socket::CLOSE.name);
            let nobody = Stamp { time, key: Key { pid: 0, start: 0 }, thread: 0 };
            self.close(nobody, &ends.socket(cookie), Some("sweep"))?;
        }
        Ok(())
    }
}
