//! The texts of the suite and of the other tests that it relies on, so that the tables can be checked against them.

macro_rules! sources {
    ($($file:literal),* $(,)?) => { &[$(($file, include_str!($file))),*] };
}

/// Each with its name, from this folder on.
pub const SOURCES: &[(&str, &str)] = sources![
    "../tests/connect_failed.rs",
    "../tests/evidence.rs",
    "../tests/exe_deleted.rs",
    "../tests/exe_memfd.rs",
    "../tests/exec.rs",
    "../tests/exit.rs",
    "../tests/fork.rs",
    "../tests/hostile.rs",
    "../tests/loss.rs",
    "../tests/places.rs",
    "../tests/socket_storm.rs",
    "../tests/sockets.rs",
    "../tests/network.rs",
    "../tests/usage.rs",
    "arguments.rs",
    "bounds.rs",
    "clones.c",
    "detached.c",
    "exefile.c",
    "fills.c",
    "floods.rs",
    "index.rs",
    "int80.c",
    "lost.rs",
    "main.rs",
    "memfds.c",
    "net.rs",
    "oddnet.c",
    "phantom.c",
    "pidreuse.c",
    "processes.rs",
    "preempts.c",
    "renames.c",
    "ringnet.c",
    "silentfuse.c",
    "sources.rs",
    "tricks.rs",
    "where_it_is.rs",
    "x32.c",
];
