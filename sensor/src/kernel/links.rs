//! The links of cgroup programs, which anybody with root can detach or give another program by their id: looked at
//! each second, and made anew. Links of other sorts can't be taken away by others.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use super::{
    Coverage, Gap, State,
    call::{self, LinkInfo},
    plan::Hook,
    refusal::{BPF, NET_ADMIN, explain},
};

/// One link.
struct Held {
    hook: &'static Hook,
    /// What it attaches (`enum bpf_attach_type`).
    sort: u32,
    program: OwnedFd,
    link: Option<(OwnedFd, LinkInfo)>,
}

/// All of them, and where they are attached.
#[derive(Default)]
pub(super) struct Links {
    root: Option<OwnedFd>,
    held: Vec<Held>,
}

impl Links {
    /// Attaches to that cgroup.
    pub(super) fn to(root: Option<OwnedFd>) -> Self {
        Self { root, held: Vec::new() }
    }

    /// Attaches a program.
    pub(super) fn attach(
        &mut self,
        hook: &'static Hook,
        program: BorrowedFd<'_>,
        sort: u32,
    ) -> io::Result<()> {
        let program = program.try_clone_to_owned()?;
        let link = link(self.root.as_ref(), &program, sort)?;
        self.held.push(Held { hook, sort, program, link: Some(link) });
        Ok(())
    }

    /// Takes all away.
    pub(super) fn detach(&mut self) {
        self.held.clear();
    }

    /// Looks whether all are as they were, makes those anew that aren't, and notes it; true when that is news.
    /// What was made anew counts as seen when it is still there the next time.
    pub(super) fn check(&mut self, rows: &mut [Coverage]) -> bool {
        let mut told: Vec<(&Hook, Option<Gap>)> = Vec::new();
        for held in &mut self.held {
            let gap = held.mend(self.root.as_ref());
            match told.iter_mut().find(|(hook, _)| std::ptr::eq(*hook, held.hook)) {
                Some((_, known)) => *known = known.take().or(gap),
                None => told.push((held.hook, gap)),
            }
        }
        let mut news = false;
        for (hook, gap) in told {
            let own = |row: &&mut Coverage| row.hook == hook.name && hook.actions.contains(&row.action);
            for row in rows.iter_mut().filter(own) {
                let (state, gap) = match &gap {
                    Some(gap) => (State::Unseen, gap.clone()),
                    None if row.gap.missing == MISSING => (State::Seen, Gap::default()),
                    None => continue,
                };
                news |= (row.state, &row.gap) != (state, &gap);
                (row.state, row.gap) = (state, gap);
            }
        }
        news
    }
}

impl Held {
    /// Makes the link anew if it isn't as it was, and says so.
    fn mend(&mut self, root: Option<&OwnedFd>) -> Option<Gap> {
        let fault = self.fault()?;
        // The old one goes first: with it goes what others put into it.
        self.link = None;
        let remedy = match link(root, &self.program, self.sort) {
            Ok(link) => {
                self.link = Some(link);
                "it was attached again; find who did it, by the events before this one".to_owned()
            }
            Err(error) => {
                let why = explain(&error, &[BPF, NET_ADMIN]);
                format!("attaching it again failed, and is tried each second: {}", why.reason)
            }
        };
        let effect = format!("for up to a second: {}", self.hook.without);
        Some(Gap { reason: fault.to_owned(), missing: MISSING.to_owned(), effect, remedy })
    }

    /// What was done to it.
    fn fault(&self) -> Option<&'static str> {
        let Some((link, known)) = &self.link else { return Some("its program is not attached") };
        match call::link_info(link.as_fd()) {
            Ok(info) if info == *known => None,
            Ok(info) if info.program != known.program => {
                Some("somebody put another program into its link (BPF_LINK_UPDATE)")
            }
            Ok(_) => Some("somebody detached its program from the cgroup (BPF_LINK_DETACH)"),
            Err(_) => Some("the kernel doesn't know its link any more"),
        }
    }
}

/// What a hook lacks that was taken away.
const MISSING: &str = "its attachment";

fn link(root: Option<&OwnedFd>, program: &OwnedFd, sort: u32) -> io::Result<(OwnedFd, LinkInfo)> {
    let root = root.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let link = call::link(program.as_fd(), root.as_fd(), sort)?;
    let info = call::link_info(link.as_fd())?;
    Ok((link, info))
}
