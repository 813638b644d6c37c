//! Which file systems are watched for names that go: what is mounted here, and where others live.

use super::{Pipeline, PipelineError};
use crate::event::Actor;

/// How long what is mounted in another mount namespace is taken to be the same, nanoseconds.
const SAME: u64 = 200_000_000;
/// The share of the time that looking at one may take: anybody can mount as much as there is room for.
const SHARE: u64 = 50;
/// Most mount namespaces that are remembered.
const MOST: usize = 1024;

impl Pipeline<'_> {
    /// Watches what is mounted where the sensor lives, and asks to be told of each change.
    pub(super) fn watch_here(&mut self) -> Result<(), PipelineError> {
        let changes = self.reader.mount_changes().map_err(PipelineError::Mounts)?;
        self.kernel.wake_for_mounts(changes).map_err(PipelineError::Mounts)?;
        self.mounts_changed();
        Ok(())
    }

    /// Something was mounted or unmounted where the sensor lives.
    pub(super) fn mounts_changed(&mut self) {
        let mounts = self.reader.mounts(std::process::id());
        self.kernel.mounted(mounts.into_iter().flatten());
    }

    /// Watches what is mounted where a process lives, unless that was just done.
    ///
    /// The kernel tells nothing of what is mounted in other namespaces: what is executed there is the
    /// occasion to look again.
    pub(super) fn watch_space(&mut self, actor: &Actor, pid: u32) {
        let space = actor.mount_namespace();
        let here = self.table.at(std::process::id()).map(|own| own.actor.mount_namespace());
        if space == 0 || here == Some(space) {
            return;
        }
        // Our own time: of what waited long to be taken, each would be an occasion.
        let began = self.host.boot_now();
        if self.spaces.get(&space).is_some_and(|again| *again > began) {
            return;
        }
        if self.spaces.len() >= MOST {
            self.spaces.clear();
        }
        // It may be gone by now, so others that live there are asked too; if all are, the next is the occasion.
        let others = self.table.iter().filter(|other| other.actor.mount_namespace() == space);
        let mut pids = std::iter::once(pid).chain(others.map(|other| other.key.pid).take(4));
        let mounts = pids.find_map(|pid| self.reader.mounts(pid));
        if let Some(mounts) = mounts {
            self.kernel.mounted(mounts.into_iter());
            let took = self.host.boot_now().saturating_sub(began);
            self.spaces.insert(space, began.saturating_add(SAME.max(took.saturating_mul(SHARE))));
        }
    }
}
