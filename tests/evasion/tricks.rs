//! The table of tricks: where each is described, what tries it, and what the sensor then tells.

/// One trick.
pub struct Trick {
    pub what: What,
    /// Each as `FILE::NAME`, from this folder on.
    pub tests: &'static [&'static str],
    pub told: Told,
}

/// What is tried.
pub enum What {
    /// The program of this name in this folder, whose first lines say what it does and where that is described.
    Program(&'static str),
    /// What other programs are made to do, and where that is described.
    Words(&'static str, &'static str),
}
use What::{Program, Words};

/// What becomes of it.
pub enum Told {
    /// It is told.
    Told(&'static str),
    /// A limit: its title in `docs/limits.md`, and what is told instead.
    Limit(&'static str, &'static str),
}
use Told::{Limit, Told as Whole};

/// All, by the promise that they are to break.
pub const TRICKS: &[Trick] = &[
    // ---- what was executed ----
    Trick {
        what: Program("phantom"),
        tests: &[
            "arguments::a_word_rewritten_while_the_kernel_copies_them",
            "arguments::a_path_that_changes_under_way_to_unlink",
            "arguments::an_address_that_changes_under_way_to_connect",
        ],
        told: Whole(
            "What the kernel did: the words that the new image has, the file that lost its name, the address that was reached.",
        ),
    },
    Trick {
        what: Words(
            "Arguments and name are overwritten after the exec.",
            "T1036.011; prctl(2), PR_SET_NAME; proc_pid_cmdline(5)",
        ),
        tests: &["../tests/hostile::arguments_rewritten_after_exec"],
        told: Whole(
            "The words that were executed; of a process older than the sensor what it shows at that time.",
        ),
    },
    Trick {
        what: Words(
            "Two mebibytes of arguments, in long words and in many.",
            "execve(2), \"Limits on size of arguments and environment\"",
        ),
        tests: &["arguments::two_mebibytes_of_words", "../tests/exec::more_arguments_are_cut_and_marked"],
        told: Whole(
            "The first 16 KiB, with sensor.args_truncated, the number of bytes and the number of words.",
        ),
    },
    Trick {
        what: Words("No arguments at all.", "CVE-2021-4034 (pwnkit)"),
        tests: &["../tests/hostile::no_arguments_at_all"],
        told: Whole("The exec, without words or with the empty one that the kernel puts there."),
    },
    Trick {
        what: Words(
            "A process calls itself like a thread of the kernel, by its zeroth argument and its name.",
            "T1036.004 and T1036.011; research.splunk.com, \"Linux kworker process in writable process path\"",
        ),
        tests: &["processes::named_like_a_kernel_thread", "../tests/exec::the_zeroth_argument_may_lie"],
        told: Whole(
            "Its executable, which a kernel thread hasn't, its real parent, and the words as they were.",
        ),
    },
    Trick {
        what: Words(
            "Names with line breaks, escape sequences, 255 bytes, other bytes than text, ` (deleted)` at the end, or JSON in them.",
            "CWE-117 and CWE-150; path_resolution(7); proc_pid_exe(5) for ` (deleted)`",
        ),
        tests: &[
            "../tests/hostile::odd_names",
            "../tests/hostile::names_that_are_not_utf8",
            "../tests/hostile::the_8_bit_control_characters",
            "../tests/hostile::words_that_break_terminals_and_lines",
        ],
        told: Whole(
            "The name as it is; escaped for a terminal, and its exact bytes beside it where it is no text.",
        ),
    },
    Trick {
        what: Words(
            "A path longer than 4096 bytes, made one folder at a time.",
            "PATH_MAX in path_resolution(7); getcwd(3), ENAMETOOLONG",
        ),
        tests: &["../tests/hostile::a_path_longer_than_any_buffer"],
        told: Limit(
            "Deep paths.",
            "The end of the path, and all of it while the process lives; the alert is told as of any other.",
        ),
    },
    Trick {
        what: Words("The working directory is removed before the exec.", "getcwd(2), ENOENT"),
        tests: &["../tests/hostile::a_working_directory_that_is_gone"],
        told: Whole("The path that it had."),
    },
    Trick {
        what: Words(
            "A thread that isn't the first executes; an image executes another, and that a third.",
            "execve(2), \"all threads other than the calling thread are destroyed\"; T1106",
        ),
        tests: &[
            "../tests/exec::an_exec_by_another_thread_keeps_the_process",
            "../tests/exec::a_chain_of_images_is_one_process",
            "processes::twice_in_a_row_and_by_a_child_that_shares_its_memory",
        ],
        told: Whole("Each exec, of one process, with the executable before it."),
    },
    Trick {
        what: Words(
            "The payload is an argument of the dynamic loader, which is what the kernel executes.",
            "ld.so(8); GTFOBins, \"ld.so\"",
        ),
        tests: &["where_it_is::run_by_the_loader"],
        told: Limit(
            "What a program loads itself",
            "The exec of the loader with the payload among its arguments; that the payload is deleted isn't told.",
        ),
    },
    Trick {
        what: Words("A script deletes itself.", "T1070.004; T1059.004"),
        tests: &[
            "where_it_is::a_script_that_deletes_itself",
            "../tests/exec::scripts_and_their_interpreters",
        ],
        told: Limit(
            "Mapped libraries",
            "The exec with sensor.script.path, and who ran rm with which words; no alert.",
        ),
    },
    Trick {
        what: Program("exefile"),
        tests: &["where_it_is::called_another_file_by_the_kernel"],
        told: Limit(
            "What a program loads itself",
            "Exec and exit with the file that was executed, never with the innocent one; that it is deleted isn't told.",
        ),
    },
    // ---- without a name ----
    Trick {
        what: Words(
            "An image in memory: memfd, by descriptor or by /proc/self/fd.",
            "memfd_create(2); T1620",
        ),
        tests: &[
            "../tests/exe_memfd::from_a_memfd",
            "../tests/exe_memfd::children_of_a_nameless_image",
            "../tests/exe_memfd::nameless_images_unlink_others",
        ],
        told: Whole("exe_memfd, with sensor.exe.state `memfd`."),
    },
    Trick {
        what: Words(
            "An image that never had a name on a disk, O_TMPFILE, or lost it before the exec; by execveat with an empty path.",
            "open(2), O_TMPFILE; execveat(2), AT_EMPTY_PATH; T1070.004",
        ),
        tests: &[
            "../tests/exe_memfd::from_a_temporary_file_without_a_name",
            "../tests/exe_memfd::from_a_file_unlinked_before",
            "../tests/exe_memfd::a_named_image_by_descriptor_is_no_alert",
        ],
        told: Whole("exe_memfd, with sensor.exe.state `deleted`."),
    },
    // ---- losing the name ----
    Trick {
        what: Words(
            "Every call that takes a name, by the process itself, its child, its parent, a stranger; on a disk, tmpfs, a bind mount, overlayfs.",
            "T1070.004; unlink(2), rename(2), renameat2(2), RENAME_EXCHANGE",
        ),
        tests: &[
            "../tests/exe_deleted::every_way_on_disk",
            "../tests/exe_deleted::every_way_on_tmpfs",
            "../tests/exe_deleted::every_way_through_a_bind_mount",
            "../tests/exe_deleted::every_way_on_an_overlay",
            "../tests/exe_deleted::every_way_by_tracepoints",
        ],
        told: Whole("exe_deleted, with who did it, how, and who runs it."),
    },
    Trick {
        what: Words(
            "io_uring takes the name, also from a ring that the kernel polls.",
            "The proof of concept \"curing\" of ARMO (2025); io_uring_enter(2), IORING_OP_UNLINKAT, IORING_OP_RENAMEAT",
        ),
        tests: &[
            "../tests/exe_deleted::every_way_on_disk",
            "../tests/exe_deleted::by_a_ring_that_the_kernel_polls",
        ],
        told: Whole("exe_deleted, as by any call."),
    },
    Trick {
        what: Words(
            "32-bit calls take the name: `int 0x80` from 64-bit code, or a 32-bit program.",
            "seccomp(2), \"Caveats\", on calls of another interface",
        ),
        tests: &[
            "../tests/exe_deleted::every_way_on_disk",
            "../tests/exe_deleted::by_a_32_bit_program_itself",
            "../tests/exec::a_32_bit_program",
        ],
        told: Whole(
            "exe_deleted, as by any call; with tracepoints instead of marks the doer may be missing.",
        ),
    },
    Trick {
        what: Program("x32"),
        tests: &["net::by_the_numbers_of_x32"],
        told: Whole(
            "As by any call where the kernel has this interface and it is switched on (`cargo xtask vm x32`); else the kernel refuses, nothing happens, and nothing is told.",
        ),
    },
    Trick {
        what: Words(
            "The path of the call leads elsewhere: links, dots, another root, another name of the folder.",
            "path_resolution(7); proc_pid_root(5)",
        ),
        tests: &[
            "../tests/exe_deleted::by_lying_paths",
            "../tests/exe_deleted::by_another_name_of_the_folder",
        ],
        told: Whole("exe_deleted, with the path that was executed."),
    },
    Trick {
        what: Words(
            "Another thread, a forked child, or a child by vfork takes the name.",
            "vfork(2); clone(2), CLONE_THREAD",
        ),
        tests: &[
            "../tests/exe_deleted::by_another_thread",
            "../tests/exe_deleted::by_its_own_forked_child",
            "../tests/fork::each_way_to_be_born",
            "processes::twice_in_a_row_and_by_a_child_that_shares_its_memory",
        ],
        told: Whole("exe_deleted, with the process that did it, and its thread where that is known."),
    },
    Trick {
        what: Program("clones"),
        tests: &[
            "processes::children_of_every_sort_delete_themselves",
            "../tests/fork::a_child_given_to_the_parent",
        ],
        told: Whole("fork with the real parent, exe_deleted by the child, its exit."),
    },
    Trick {
        what: Program("pidreuse"),
        tests: &[
            "processes::an_innocent_process_with_the_pid_of_who_did_it",
            "../tests/fork::a_pid_used_again_is_another_process",
        ],
        told: Limit(
            "A pid that two had.",
            "exe_deleted with who did it, or with nobody; never with the innocent one.",
        ),
    },
    Trick {
        what: Words(
            "From new user, pid, mount and network namespaces, as root of those.",
            "user_namespaces(7), pid_namespaces(7)",
        ),
        tests: &[
            "processes::in_namespaces_of_its_own",
            "../tests/exec::namespaces_and_cgroup",
            "../tests/sockets::another_network_namespace_and_another_user",
        ],
        told: Whole("All as outside: the host's pids and paths, with the numbers of the namespaces."),
    },
    Trick {
        what: Words(
            "The file goes on and has its old path again: linked, unlinked, and the link renamed to that path.",
            "link(2), rename(2)",
        ),
        tests: &[
            "where_it_is::a_name_that_is_taken_and_given_again",
            "../tests/exe_deleted::another_hard_link_is_left",
        ],
        told: Whole("exe_deleted: the entry that was executed is gone."),
    },
    Trick {
        what: Words(
            "The name is taken away and comes back, again and again, faster than anybody looks.",
            "rename(2); TOCTOU, CWE-367",
        ),
        tests: &["where_it_is::a_name_that_comes_back_at_once"],
        told: Limit(
            "A name that comes back",
            "What is seen of it; the loss that stays is told once, with who did it.",
        ),
    },
    Trick {
        what: Words("The folder above is removed with it.", "T1070.004; unlink(2)"),
        tests: &["where_it_is::with_the_folder_above_it"],
        told: Whole("exe_deleted, with the path that it had."),
    },
    Trick {
        what: Words("Several names in turn: renamed, then unlinked.", "T1036.003 and T1070.004"),
        tests: &["../tests/exe_deleted::several_transitions_are_several_alerts"],
        told: Whole("Each loss, one after the other."),
    },
    Trick {
        what: Words(
            "The mount of the running file is taken away lazily, or another is put over it, and then the name goes.",
            "umount2(2), MNT_DETACH; T1564",
        ),
        tests: &[
            "where_it_is::on_a_mount_that_is_taken_away_or_covered",
            "where_it_is::executed_after_its_mount_was_taken_away",
        ],
        told: Whole(
            "exe_deleted, with the path that it had; sensor.exe.state is `unreachable` for what is executed afterwards.",
        ),
    },
    Trick {
        what: Program("detached"),
        tests: &["where_it_is::on_a_mount_that_is_nowhere"],
        told: Limit(
            "File systems that are mounted nowhere",
            "The exec, with sensor.exe.state `unreachable` and the path inside the mount, and exe_deleted.",
        ),
    },
    Trick {
        what: Words(
            "The file of an overlay's layer is deleted behind the overlay's back.",
            "Documentation/filesystems/overlayfs.rst, \"Changes to underlying filesystems\"",
        ),
        tests: &["where_it_is::behind_the_back_of_an_overlay"],
        told: Limit(
            "Behind an overlay's back.",
            "Exec and exit as ever; for the overlay the file still has its name.",
        ),
    },
    Trick {
        what: Program("silentfuse"),
        tests: &[
            "where_it_is::on_a_file_system_that_never_answers",
            "where_it_is::on_layers_over_one_that_never_answers",
            "where_it_is::by_a_link_to_where_nobody_answers",
        ],
        told: Limit(
            "File systems that others answer for",
            "The exec, and all else that happens on the host; a loss there is seen by the sweep or at the end, without its doer.",
        ),
    },
    Trick {
        what: Words("It was lost before the sensor came.", "T1562.001"),
        tests: &[
            "../tests/exe_deleted::lost_before_the_sensor_started",
            "../tests/exe_deleted::started_before_the_sensor",
        ],
        told: Limit("Already lost at the start.", "process_snapshot, with sensor.exe.state `deleted`."),
    },
    // ---- sockets ----
    Trick {
        what: Program("int80"),
        tests: &["net::by_calls_of_32_bit"],
        told: Whole("socket_bind, socket_listen, socket_connect, with the process."),
    },
    Trick {
        what: Program("ringnet"),
        tests: &[
            "net::by_a_ring_and_without_a_descriptor",
            "../tests/sockets::threads_and_io_uring",
            "../tests/connect_failed::threads_and_io_uring_fail_as_themselves",
        ],
        told: Limit(
            "A connection that only io_uring has",
            "socket_bind, socket_listen, socket_connect with the process; socket_accept too, where the kernel takes a program at its function that accepts, else at the end of the connection.",
        ),
    },
    Trick {
        what: Program("oddnet"),
        tests: &[
            "net::a_connection_without_connect",
            "net::a_connection_with_itself",
            "net::a_connection_that_was_only_declared",
            "net::a_listener_that_was_stolen",
        ],
        told: Whole("socket_connect once, by who made it; socket_accept by who took it."),
    },
    Trick {
        what: Words(
            "A child, a thread or another user does it with a socket that its parent made; who accepts says nothing.",
            "accept(2); unix(7), SCM_RIGHTS",
        ),
        tests: &[
            "../tests/sockets::who_accepts_is_who_has_it",
            "../tests/sockets::a_child_that_serves_is_who_closes",
            "../tests/sockets::connections_that_nobody_accepts_are_the_listeners",
        ],
        told: Whole("socket_accept by who has it; a look later where no program is called as it accepts."),
    },
    Trick {
        what: Words("Raw and packet sockets, which need no port.", "packet(7), raw(7); T1205.002; BPFDoor"),
        tests: &["../tests/sockets::raw_and_packet_sockets_are_found"],
        told: Limit("Raw and packet sockets", "socket_bind, by a look each second."),
    },
    Trick {
        what: Words(
            "Connects that are refused, so that nothing is established.",
            "connect(2), ENETUNREACH, EHOSTUNREACH; T1046",
        ),
        tests: &[
            "../tests/connect_failed::every_way_that_leads_nowhere_has_its_reason",
            "../tests/sockets::failed_connects_say_why",
        ],
        told: Whole("socket_connect with the outcome, the reason and the process."),
    },
    // ---- losing events ----
    Trick {
        what: Words(
            "Fork bomb, exec storm, nameless images, renames and connections all at once, with the deed in their midst.",
            "T1562.006; T1499",
        ),
        tests: &[
            "floods::all_floods_at_once",
            "../tests/loss::a_flood_that_nobody_reads",
            "../tests/loss::nothing_is_lost_without_a_flood",
        ],
        told: Whole(
            "The alert, with who did it; for all else seen is delivered and lost, and what is lost is told.",
        ),
    },
    Trick {
        what: Program("preempts"),
        tests: &["floods::who_takes_the_processor_from_a_program_is_told"],
        told: Whole(
            "Each process. What the kernel skips nevertheless, within a few instructions or before Linux 6.10 at the ends of functions, as loss `skipped`.",
        ),
    },
    Trick {
        what: Program("memfds"),
        tests: &["floods::nameless_images_by_the_hundred"],
        told: Whole(
            "The alert of each image that still runs when there is room again, by a look; execs that found no room as loss.",
        ),
    },
    Trick {
        what: Words(
            "An image is executed in a flood, so that its exec is lost, and loses its name long after.",
            "T1562.006 and T1070.004",
        ),
        tests: &["floods::what_was_executed_in_a_flood_and_loses_its_name_after_it"],
        told: Whole("exe_deleted, with who did it; the exec as loss."),
    },
    Trick {
        what: Words(
            "Who did it ends, and thousands of others end after it before anybody looks.",
            "T1562.006; pid reuse",
        ),
        tests: &["floods::who_did_it_ends_before_many_others"],
        told: Whole("exe_deleted, with who did it."),
    },
    Trick {
        what: Words(
            "Who did it began behind more than the sensor takes at once, and has ended when it does.",
            "T1562.006",
        ),
        tests: &["floods::who_did_it_began_behind_many_others"],
        told: Whole("exe_deleted, with who did it."),
    },
    Trick {
        what: Program("renames"),
        tests: &["floods::a_rename_in_a_storm_of_renames"],
        told: Whole("exe_deleted; who did it, or a loss `queue_full`."),
    },
    Trick {
        what: Program("fills"),
        tests: &[
            "floods::a_connection_that_waits_while_datagrams_come_and_go",
            "floods::connects_under_way_without_room",
            "floods::connections_that_nobody_takes_without_room",
            "floods::threads_that_come_and_go",
            "floods::processes_with_ended_threads_without_room",
            "../tests/socket_storm::a_flood_of_failures_is_told_or_counted",
        ],
        told: Whole("The process, or a loss with a number."),
    },
    Trick {
        what: Words("More connections than can be told.", "T1499; T1562.006"),
        tests: &[
            "../tests/socket_storm::of_a_storm_every_connection_is_told_or_counted",
            "../tests/socket_storm::no_connection_is_lost",
        ],
        told: Whole("Each connection, or a loss with a number."),
    },
    Trick {
        what: Words("Whoever reads the output stops, or its disk is full.", "T1562.006; pipe(7); CWE-400"),
        tests: &[
            "../tests/places::a_full_disk",
            "../tests/places::an_output_that_refuses_everything",
            "../tests/places::nobody_reads_the_output",
        ],
        told: Whole("What wasn't written, with its number, and exit status 1."),
    },
    Trick {
        what: Words(
            "A process ends by whatever way: its first thread before the others, a signal, a call of another thread.",
            "_exit(2); pthread_exit(3); exit_group(2)",
        ),
        tests: &[
            "../tests/exit::the_leader_ends_first",
            "../tests/exit::exit_group_by_another_thread",
            "../tests/exit::signals",
            "../tests/exit::an_orphan",
        ],
        told: Whole("One exit, with its code or signal."),
    },
];
