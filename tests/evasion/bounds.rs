//! The table of what is bounded and can be filled by who acts on the host: what becomes of the one too many.

/// One map of the programs, or one table of user space.
pub struct Bound {
    /// The name: of a map in `sensor-ebpf/src/map.rs`, or `FILE::CONSTANT` of `sensor/src`.
    pub name: &'static str,
    /// What becomes of what has no room.
    pub full: &'static str,
    /// Tests, as in `tricks.rs`.
    pub tests: &'static [&'static str],
}

const fn bound(name: &'static str, full: &'static str, tests: &'static [&'static str]) -> Bound {
    Bound { name, full, tests }
}

/// The maps of the programs that hold more than one value for each processor.
pub const MAPS: &[Bound] = &[
    bound("URGENT", "Goes into BULK.", &["floods::nameless_images_by_the_hundred"]),
    bound(
        "BULK",
        "Loss `ring_full`, by action. An image that still runs is known by a look.",
        &[
            "floods::what_was_executed_in_a_flood_and_loses_its_name_after_it",
            "../tests/loss::a_flood_that_nobody_reads",
        ],
    ),
    bound(
        "NAMES",
        "With tracepoints only. The oldest is forgotten: the sweep sees the loss, without its doer.",
        &["../tests/exe_deleted::every_way_by_tracepoints"],
    ),
    bound(
        "INODES",
        "With the hooks of functions only. The one that was asked for longest ago is forgotten, and each second all that runs is asked for: marks of inodes still see the loss.",
        &["../tests/exe_deleted::every_way_on_disk"],
    ),
    bound(
        "KNOWN",
        "One is forgotten when another comes to its place: its next exec wakes the reader once more.",
        &[],
    ),
    bound(
        "PENDING",
        "With tracepoints only. The oldest call under way is forgotten: the sweep sees what it did.",
        &["../tests/exe_deleted::every_way_by_tracepoints"],
    ),
    bound("TOLD", "The oldest is forgotten: a hint comes once more, and user space tells it once.", &[]),
    bound(
        "THREADS",
        "The oldest is forgotten: the thread is looked up while it lives, else the alert has no thread.",
        &["floods::threads_that_come_and_go"],
    ),
    bound("FINISHED", "Linux before 6.16 only. The oldest is forgotten: an exit may be told twice.", &[]),
    bound(
        "SUMMED",
        "The oldest is forgotten: the I/O of a thread that is held up at its end while so many others end, as its process does, is told twice.",
        &["../tests/usage::threads_that_still_end_when_the_process_does"],
    ),
    bound(
        "ENDED",
        "Loss `map_full` of usage, for each thread.",
        &["floods::processes_with_ended_threads_without_room"],
    ),
    bound(
        "OWNERS",
        "The oldest is forgotten: its connection is told by a look at open files, or when it ends.",
        &[],
    ),
    bound(
        "DATAGRAMS",
        "Loss `map_full` of socket_close: the end of the socket won't be told.",
        &["floods::a_connection_that_waits_while_datagrams_come_and_go"],
    ),
    bound(
        "UNTAKEN",
        "Told at once, as the listener's.",
        &["floods::connections_that_nobody_takes_without_room"],
    ),
    bound(
        "SOCKETS",
        "Beside each socket; without memory for it loss `map_full` of usage, and its bytes are nobody's.",
        &[],
    ),
    bound("TRAFFIC", "Goes into SPILL.", &[]),
    bound("SPILL", "Loss `ring_full` of usage, and the bytes are nobody's.", &[]),
    bound(
        "ATTEMPTS",
        "A datagram's is told at once with the outcome `unknown`; of TCP loss `map_full`, unless it has a state.",
        &["floods::connects_under_way_without_room"],
    ),
    bound("DOUBTED", "User space asks about the others at the next look.", &[]),
];

/// The tables of user space. Those of 65,536 and more entries are tried by the unit tests beside them.
pub const TABLES: &[Bound] = &[
    bound(
        "process.rs::MOST",
        "The oldest process makes room: loss `full` of process_snapshot, and it is known anew.",
        &[],
    ),
    bound(
        "process.rs::RECENT_MOST",
        "The one that ended first is forgotten: what it did before is told with nobody.",
        &["floods::who_did_it_ends_before_many_others"],
    ),
    bound(
        "process.rs::CGROUPS_MOST",
        "All are forgotten: the path of a cgroup in which nobody executes anything is asked for in /proc.",
        &[],
    ),
    bound(
        "verdict/doer.rs::MOST",
        "The oldest hint is forgotten: the loss may be told with nobody, `sensor.method` says so.",
        &[],
    ),
    bound(
        "verdict/doer.rs::GONE_MOST",
        "The oldest name that went is forgotten: the loss may be told with nobody, `sensor.method` says so.",
        &["floods::a_rename_in_a_storm_of_renames"],
    ),
    bound(
        "pipeline/missed.rs::MOST",
        "An image whose exec was lost stays unknown; the exec is counted.",
        &[],
    ),
    bound(
        "pipeline/look.rs::UNRESOLVED_MOST",
        "A listener is told without its late port, a connection without its process.",
        &[],
    ),
    bound("pipeline/connect.rs::ASKED_MOST", "A failed connect is told without error.code.", &[]),
    bound("pipeline/reach.rs::SPACES_MOST", "The namespace that was asked longest ago is asked anew.", &[]),
    bound("pipeline/reach.rs::TOLD_MOST", "A change of addresses isn't told of the socket.", &[]),
    bound(
        "pipeline/network.rs::LINGERING_MOST",
        "Loss `full` of usage: bytes after the end of a process are nobody's.",
        &[],
    ),
    bound("pipeline/watch.rs::MOST", "All mount namespaces are looked at anew.", &[]),
    bound("network.rs::MOST", "Loss `full` of usage: the socket's bytes are nobody's.", &[]),
    bound("network.rs::WAITING_MOST", "The socket's bytes are nobody's, in the row of those.", &[]),
    bound("network.rs::PROCESSES_MOST", "Loss `full` of usage: the process's bytes are nobody's.", &[]),
    bound("sockets.rs::MOST", "The end is told without which side began it.", &[]),
    bound("sockets.rs::LISTENERS_MOST", "A connection that nobody takes is told without a process.", &[]),
    bound(
        "sockets.rs::STOPPED_MOST",
        "All are forgotten: a connection that nobody took and that ends after its listener is told without a process.",
        &[],
    ),
    bound("kernel/traffic.rs::MOST", "Loss `table_full` of usage: the bytes are nobody's.", &[]),
    bound(
        "kernel/names.rs::DEVICES_MOST",
        "All are learnt anew; meanwhile a name that goes fits any file system.",
        &[],
    ),
    bound("account.rs::MOST", "Loss `full` of usage: told at its exit only.", &[]),
    bound("account.rs::SUMS_MOST", "Loss `full` of usage: told with others.", &[]),
    bound("account.rs::ENDED_MOST", "In the row of all others that ended.", &[]),
    bound(
        "procfs/patience.rs::STUCK_MOST",
        "No process older than the sensor is asked for its arguments any more: sensor.args_truncated.",
        &[],
    ),
    bound(
        "evidence.rs::HELD_MOST",
        "The one that was run longest ago is let go: sensor.evidence.missing, should it lose its name and end at once.",
        &[],
    ),
    bound("evidence.rs::HASHES_MOST", "The file isn't hashed: told in coverage, `evidence/hash`.", &[]),
    bound("evidence.rs::CLOSES_MOST", "The loop closes them.", &[]),
    bound("evidence.rs::WRITES_MOST", "The alert is told at once, with sensor.evidence.missing.", &[]),
    bound("evidence/held.rs::KNOWN_MOST", "All are forgotten: files are hashed anew.", &[]),
    bound(
        "evidence/store.rs::RUNNERS_MOST",
        "The second oldest isn't noted any more, nor found by pid or entity id.",
        &[],
    ),
    bound(
        "evidence/store.rs::IMAGES_MOST",
        "The oldest copy goes.",
        &["../tests/evidence::the_folder_keeps_its_bounds"],
    ),
    bound("evidence/folder.rs::ENTRIES_MOST", "The rest isn't looked at.", &[]),
    bound(
        "pipeline/capture.rs::WAITING_MOST",
        "The alert is told at once, with sensor.evidence.missing.",
        &[],
    ),
    bound("journal/queue.rs::BYTES_MOST", "Loss `queue_full` of the stage `journal`, by action.", &[]),
    bound("journal/queue.rs::EVENTS_MOST", "Loss `queue_full` of the stage `journal`, by action.", &[]),
    bound(
        "journal/words.rs::BYTES_MOST",
        "All are forgotten: words are looked up in the database again.",
        &[],
    ),
    bound(
        "journal/cursor.rs::DEAD_MOST",
        "The oldest that was refused goes, whichever output refused it.",
        &[],
    ),
    bound(
        "journal/cursor.rs::DEAD_BYTES_MOST",
        "The oldest that was refused goes, whichever output refused it.",
        &[],
    ),
];

macro_rules! rooms {
    ($($file:literal),* $(,)?) => { &[$(($file, include_str!(concat!("../../sensor/src/", $file)))),*] };
}

/// The files of user space with such tables: each constant in them that ends in `MOST` has a row.
pub const ROOMS: &[(&str, &str)] = rooms![
    "process.rs",
    "verdict/doer.rs",
    "pipeline/missed.rs",
    "pipeline/look.rs",
    "pipeline/connect.rs",
    "pipeline/reach.rs",
    "pipeline/network.rs",
    "pipeline/watch.rs",
    "network.rs",
    "sockets.rs",
    "kernel/traffic.rs",
    "kernel/names.rs",
    "account.rs",
    "procfs/patience.rs",
    "evidence.rs",
    "evidence/held.rs",
    "evidence/store.rs",
    "evidence/folder.rs",
    "pipeline/capture.rs",
    "journal/queue.rs",
    "journal/words.rs",
    "journal/cursor.rs",
];

/// Those that bound no table: how often something is done, or how much at once.
pub const OTHERS: &[&str] = &[
    "process.rs::MISSING_MOST",
    "pipeline/reach.rs::ROUND_MOST",
    "kernel/names.rs::MOST",
    "kernel/names.rs::READS_MOST",
    "procfs/patience.rs::LOADS_MOST",
    "journal/cursor.rs::REASON_MOST",
];
