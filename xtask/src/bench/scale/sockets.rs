//! Beside more and more connections that are open.

use std::net::{Ipv4Addr, TcpListener, TcpStream};

use super::super::Report;
use super::super::crowd::{Crowd, Has};
use super::growth::Series;
use super::point::NAMES;
use super::{Bench, USUAL};
use crate::error::{Error, Result};
use crate::say;

const OWNER: &str = "54321";
/// Connections of a process, so that none needs more descriptors than is usual.
const OF_A_PROCESS: u32 = 200;
/// The programs that a connection meets.
const HOOKS: &[&str] = &["inet_sock_set_state"];
/// Events of a connection: begun, taken, and ended at both ends.
const EVENTS: u64 = 4;

/// Measures it.
pub(super) fn run(bench: &mut Bench<'_>, report: &mut Report) -> Result<()> {
    let connections = bench.args.spawns.min(2000);
    let title = format!(
        "sockets of connections over loopback that are open, and {connections} connections begun and ended as work\n{NAMES}"
    );
    let mut series = Series::new("sockets", title);
    for sockets in bench.args.points() {
        say(&format!("beside {sockets} sockets"));
        let each = OF_A_PROCESS.min(sockets / 2);
        let crowd = Crowd::gather(bench.lab, sockets / 2 / each, OWNER, Has::Connections(each))?;
        let point = bench.point(HOOKS, &mut || connect(connections))?;
        crowd.leave()?;
        series.add(sockets, &point.costs(), point.lost);
    }
    series.tables(USUAL).into_iter().for_each(|table| report.add(table));
    Ok(())
}

/// Begins and ends connections; how many events that is.
fn connect(count: u32) -> Result<u64> {
    let made = || -> std::io::Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        for _ in 0..count {
            let from = TcpStream::connect(listener.local_addr()?)?;
            drop((listener.accept()?, from));
        }
        Ok(())
    };
    made().map_err(|error| Error::Check(format!("cannot make connections: {error}")))?;
    Ok(u64::from(count) * EVENTS)
}
