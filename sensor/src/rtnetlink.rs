//! Which addresses a network namespace has, as the kernel tells by rtnetlink, and that they changed.

use std::{
    collections::HashMap,
    fs::File,
    os::fd::{AsRawFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, setns},
    sys::{
        socket::{
            self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType,
            sockopt::ReceiveTimeout,
        },
        time::{TimeVal, TimeValLike},
    },
};

use crate::net::live::{Address, Live};
use message::{Malformed, What};

mod message;
pub mod route;

/// `RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR`.
const GROUPS: u32 = 0x1 | 0x10 | 0x100;
/// Longest message of an answer: the kernel makes none above 32 KiB (`netlink_recvmsg`).
const LONGEST: usize = 64 * 1024;
/// Most interfaces and addresses of one namespace.
const MOST: usize = 65_536;
/// How often an answer is asked for that changes while it is told.
const TRIES: u32 = 8;
/// How long the kernel may keep us waiting: it answers only when nobody else changes interfaces.
const PATIENCE: Duration = Duration::from_millis(250);
/// Most answers that are waited for by nobody any more; then none is asked for.
const STUCK_MOST: u32 = 4;
/// Most notices that are read at once.
const NOTICES_MOST: usize = 4096;

/// Why the addresses aren't known.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each says what it is in its message")]
pub enum AddressError {
    #[error("{what}: {source}")]
    Call { what: &'static str, source: Errno },
    #[error("the kernel's answer is malformed")]
    Malformed,
    #[error("the addresses changed each time that they were asked for")]
    Restless,
    #[error("there are more than {MOST} interfaces and addresses")]
    TooMany,
    #[error("the kernel doesn't answer in time")]
    Late,
}

fn call(what: &'static str) -> impl Fn(Errno) -> AddressError {
    move |source| AddressError::Call { what, source }
}

/// Asks for addresses.
#[derive(Debug, Default)]
pub struct Asker {
    under_way: Arc<AtomicU32>,
}

impl Asker {
    /// The live addresses of a network namespace, of the sensor's own where none is given.
    ///
    /// A thread asks: only a thread can enter another namespace, and the kernel may not answer for a while.
    ///
    /// # Errors
    /// When they can't be had.
    pub fn ask(&self, namespace: Option<File>) -> Result<Live, AddressError> {
        let under_way = Arc::clone(&self.under_way);
        if under_way.fetch_add(1, Ordering::Relaxed) >= STUCK_MOST {
            under_way.fetch_sub(1, Ordering::Relaxed);
            return Err(AddressError::Late);
        }
        let (sender, answer) = mpsc::channel();
        let ask = move || {
            let live = namespace
                .map_or(Ok(()), |namespace| setns(namespace, CloneFlags::CLONE_NEWNET))
                .map_err(call("entering the network namespace"))
                .and_then(|()| read());
            under_way.fetch_sub(1, Ordering::Relaxed);
            // Nobody may be waiting any more.
            let _: Result<(), mpsc::SendError<_>> = sender.send(live);
        };
        if let Err(error) = thread::Builder::new().name("addresses".to_owned()).spawn(ask) {
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            let source = Errno::from_raw(error.raw_os_error().unwrap_or(0));
            return Err(AddressError::Call { what: "starting a thread", source });
        }
        match answer.recv_timeout(PATIENCE) {
            Ok(live) => live,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Err(AddressError::Late),
        }
    }
}

/// What the running thread's network namespace has.
fn read() -> Result<Live, AddressError> {
    let socket = open(SockFlag::empty())?;
    socket::setsockopt(&socket, ReceiveTimeout, &TimeVal::seconds(1)).map_err(call("setting a timeout"))?;
    for turn in 0..TRIES {
        let mut gathered = Gathered::default();
        let mut interrupted = dump(&socket, &message::ask_links(2 * turn + 1), 2 * turn + 1, &mut gathered)?;
        interrupted |= dump(&socket, &message::ask_addresses(2 * turn + 2), 2 * turn + 2, &mut gathered)?;
        if !interrupted {
            return Ok(gathered.live());
        }
    }
    Err(AddressError::Restless)
}

fn open(flags: SockFlag) -> Result<OwnedFd, AddressError> {
    let flags = flags | SockFlag::SOCK_CLOEXEC;
    socket::socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)
        .map_err(call("opening a netlink socket"))
}

/// Asks, and takes in the whole answer; true when it changed while it was told.
fn dump(
    socket: &OwnedFd,
    question: &[u8],
    sequence: u32,
    gathered: &mut Gathered,
) -> Result<bool, AddressError> {
    let kernel = NetlinkAddr::new(0, 0);
    socket::sendto(socket.as_raw_fd(), question, &kernel, MsgFlags::empty())
        .map_err(call("asking by netlink"))?;
    let mut buffer = vec![0; LONGEST];
    let mut interrupted = false;
    loop {
        let received = socket::recvfrom::<NetlinkAddr>(socket.as_raw_fd(), &mut buffer);
        let (len, from) = match received {
            Err(Errno::EINTR) => continue,
            other => other.map_err(call("receiving by netlink"))?,
        };
        // Other processes can send to us too.
        if from.is_none_or(|from| from.pid() != 0) {
            continue;
        }
        for told in message::decode(buffer.get(..len).unwrap_or(&[])) {
            let told = told.map_err(|Malformed| AddressError::Malformed)?;
            if told.sequence != sequence {
                continue;
            }
            interrupted |= told.interrupted;
            match told.what {
                What::Done => return Ok(interrupted),
                What::Refused(errno) => return Err(call("asking by netlink")(Errno::from_raw(errno))),
                what => gathered.take(what)?,
            }
        }
    }
}

/// What an answer told until now.
#[derive(Default)]
struct Gathered {
    /// Interfaces that are up, by number: whether each is a loopback, and to which it belongs.
    links: HashMap<u32, (bool, u32)>,
    addresses: Vec<Address>,
}

impl Gathered {
    fn take(&mut self, what: What) -> Result<(), AddressError> {
        match what {
            What::Link { index, up: true, loopback, master } => {
                self.links.insert(index, (loopback, master));
            }
            What::Address { index: device, ip, prefix, broadcast, usable: true } => {
                self.addresses.push(Address { ip, prefix, device, master: 0, loopback: false, broadcast });
            }
            _ => {}
        }
        if self.links.len() + self.addresses.len() > MOST {
            return Err(AddressError::TooMany);
        }
        Ok(())
    }

    fn live(self) -> Live {
        let live = self.addresses.into_iter().filter_map(|address| {
            let &(loopback, master) = self.links.get(&address.device)?;
            Some(Address { loopback, master, ..address })
        });
        Live::new(live.collect())
    }
}

/// Notices of changes in the sensor's own network namespace.
///
/// What they say isn't looked at: each is an occasion to ask again. So one that was lost, or that another
/// process made up, does no harm.
#[derive(Debug)]
pub struct Changes(OwnedFd);

impl Changes {
    /// From now on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn follow() -> Result<Self, AddressError> {
        let socket = open(SockFlag::SOCK_NONBLOCK)?;
        socket::bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))
            .map_err(call("joining the groups of netlink"))?;
        Ok(Self(socket))
    }

    /// Whether there were any since this was last asked; also when there were more than the kernel keeps.
    ///
    /// # Errors
    /// When the kernel tells none any more.
    pub fn any(&self) -> Result<bool, AddressError> {
        let mut any = false;
        for _ in 0..NOTICES_MOST {
            // The rest of a notice that is longer is dropped.
            match socket::recv(self.0.as_raw_fd(), &mut [0; 16], MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EAGAIN) => break,
                // Overrun: what was dropped was one, too.
                Ok(_) | Err(Errno::ENOBUFS) => any = true,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(call("receiving by netlink")(errno)),
            }
        }
        Ok(any)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn this_namespace_has_its_loopback() {
        let live = Asker::default().ask(None).unwrap();
        let reach = live.reach(IpAddr::from([127, 0, 0, 1]), false, 0).unwrap();
        assert_eq!((reach.word(), reach.by.len()), ("loopback", 1));
    }

    #[test]
    fn what_is_no_namespace_is_refused() {
        let file = File::open(std::env::temp_dir()).unwrap();
        let refused = Asker::default().ask(Some(file)).unwrap_err();
        assert_eq!(refused.to_string(), "entering the network namespace: EINVAL: Invalid argument");
    }

    #[test]
    fn who_is_stuck_is_not_asked_again() {
        let asker = Asker::default();
        asker.under_way.store(STUCK_MOST, Ordering::Relaxed);
        assert!(matches!(asker.ask(None), Err(AddressError::Late)));
        assert_eq!(asker.under_way.load(Ordering::Relaxed), STUCK_MOST);
        asker.under_way.store(0, Ordering::Relaxed);
        assert!(asker.ask(None).is_ok());
        assert_eq!(asker.under_way.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn only_usable_addresses_of_interfaces_that_are_up_are_live() {
        let mut gathered = Gathered::default();
        for (index, up) in [(1, true), (2, false)] {
            gathered.take(What::Link { index, up, loopback: index == 1, master: 0 }).unwrap();
        }
        let ips = [[127, 0, 0, 1], [10, 0, 0, 1], [10, 0, 0, 2], [10, 0, 0, 3]].map(IpAddr::from);
        for ((index, usable), ip) in [(1, true), (1, false), (2, true), (3, true)].into_iter().zip(ips) {
            gathered.take(What::Address { index, ip, prefix: 8, broadcast: None, usable }).unwrap();
        }
        let live = gathered.live();
        let words = ips.map(|ip| live.reach(ip, false, 0).unwrap().word());
        assert_eq!(words, ["loopback", "none", "none", "none"]);
        assert_eq!(live.reach(IpAddr::from([127, 9, 9, 9]), false, 0).unwrap().word(), "loopback");
    }

    #[test]
    fn no_more_is_kept_than_is_bounded() {
        let mut gathered = Gathered::default();
        let mut take = |index| gathered.take(What::Link { index, up: true, loopback: false, master: 0 });
        assert!((0..65_536).all(|index| take(index).is_ok()));
        assert!(matches!(take(65_536), Err(AddressError::TooMany)));
    }

    #[test]
    fn without_a_change_there_is_no_notice() {
        // Other tests may change something here: it ends all the same.
        let changes = Changes::follow().unwrap();
        let quiet = (0..1000).any(|_| !changes.any().unwrap());
        assert!(quiet);
    }
}
