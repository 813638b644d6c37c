//! An interval as text or JSON, for scripts and for terminals that can't show a screen.

use super::{
    row::{By, Interval, Metric, Row, Subject},
    table::{Column, Names, cell, columns, label},
    window::grouped,
};
use crate::{
    field::Field,
    format::Format,
    process::Table,
    record::{Record, Text, Value},
};

/// Wide enough for every column but the past, which a report doesn't have.
const WIDTH: usize = 200;
/// The field of each metric.
const FIELDS: [(Metric, Field); 11] = [
    (Metric::Cpu, Field::SensorUsageCpuNs),
    (Metric::Rss, Field::SensorUsageRssBytes),
    (Metric::DiskRead, Field::SensorUsageDiskReadBytes),
    (Metric::DiskWrite, Field::SensorUsageDiskWriteBytes),
    (Metric::FileRead, Field::SensorUsageFileReadBytes),
    (Metric::FileWrite, Field::SensorUsageFileWriteBytes),
    (Metric::NetRx, Field::SensorUsageNetRxBytes),
    (Metric::NetTx, Field::SensorUsageNetTxBytes),
    (Metric::Connections, Field::SensorUsageConnections),
    (Metric::RxPackets, Field::SensorUsageNetRxPackets),
    (Metric::TxPackets, Field::SensorUsageNetTxPackets),
];

/// The rows of an interval, the busiest first and the rest last.
pub fn rows(interval: &Interval, by: By) -> Vec<Row> {
    let mut rows = grouped(interval, by);
    let get = |row: &Row, metric| row.usage.get(metric);
    let most = |row: &Row| match by {
        By::Remote => {
            let moved = get(row, Metric::NetRx).zip(get(row, Metric::NetTx));
            (moved.map(|(rx, tx)| rx.saturating_add(tx)), get(row, Metric::Connections))
        }
        _ => (get(row, Metric::Cpu), None),
    };
    rows.sort_by(|a, b| most(b).cmp(&most(a)).then_with(|| a.subject.cmp(&b.subject)));
    let rest = interval.rest_by(by).map(|usage| Row { usage, ..Row::of(Subject::Rest) });
    rows.extend(rest);
    rows
}

/// As a table with a head. What stands in its last column is never cut.
pub fn text(interval: &Interval, by: By, names: &Names) -> String {
    let columns = columns(by, WIDTH, false);
    let line = |cells: &dyn Fn(Column) -> String| {
        let cells = columns.iter().map(|column| match column {
            Column::Name => cells(*column),
            _ => column.padded(&cells(*column), column.width()),
        });
        cells.collect::<Vec<_>>().join(" ") + "\n"
    };
    let mut table = line(&|column| column.title(by).to_owned());
    for row in rows(interval, by) {
        table.push_str(&line(&|column| match column {
            Column::Name => label(&row, names),
            _ => cell(column, &row, interval.elapsed, names),
        }));
    }
    table
}

/// As one object a row, with what every record of the host has.
pub fn json(
    interval: &Interval,
    by: By,
    names: &Names,
    (common, ids): (&Record, &Table),
    format: &dyn Format,
) -> Vec<u8> {
    let mut out = Vec::new();
    for row in rows(interval, by) {
        format.write(&record(&row, interval.elapsed, names, (common, ids)), &mut out);
    }
    out
}

fn record(row: &Row, elapsed: u64, names: &Names, (common, ids): (&Record, &Table)) -> Record {
    let mut record = Record::new();
    record.extend_from(common);
    record.set(Field::EventKind, "metric");
    record.set(Field::SensorIntervalMs, elapsed / 1_000_000);
    if let Subject::Process(pid, _) = row.subject {
        record.set(Field::ProcessPid, pid);
    }
    if let Some(key) = row.key {
        record.set(Field::ProcessEntityId, ids.entity(key));
    }
    if let Some(name) = &row.name {
        record.set(Field::ProcessName, name.clone());
    }
    if let Some(executable) = &row.executable {
        record.set(Field::ProcessExecutable, executable.clone());
    }
    if let Some(uid) = row.uid {
        record.set(Field::UserId, Value::Id(u64::from(uid)));
        named(&mut record, Field::UserName, names.get(&uid));
    }
    if let Some(login) = row.login {
        record.set(Field::SensorLoginUid, Value::Id(u64::from(login)));
        named(&mut record, Field::SensorLoginName, names.get(&login));
    }
    if let Some(container) = &row.container {
        record.set(Field::ContainerId, container.clone());
    }
    match &row.subject {
        Subject::Remote(address) => record.set(Field::SensorRemoteIp, Text::from(address.to_string())),
        Subject::Rest => record.set(Field::SensorUnaccounted, true),
        Subject::User(..) | Subject::Container(_) => record.set(Field::SensorProcesses, row.processes),
        Subject::Process(..) => {}
    }
    if row.ended {
        record.set(Field::SensorEnded, true);
    }
    for (metric, field) in FIELDS {
        if let Some(value) = row.usage.get(metric) {
            record.set(field, value);
        }
    }
    record
}

fn named(record: &mut Record, field: Field, name: Option<&Text>) {
    if let Some(name) = name {
        record.set(field, name.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{action::top::row::Usage, format};

    fn interval() -> Interval {
        let row = |pid, cpu, name: &'static str| {
            let mut row = Row::of(Subject::Process(pid, 1));
            row.usage = Usage::of(&[(Metric::Cpu, cpu), (Metric::DiskWrite, 4096)]);
            (row.name, row.uid) = (Some(Text::from(name)), Some(0));
            row
        };
        Interval {
            elapsed: 1_000_000_000,
            processes: vec![row(1, 5, "idle"), row(2, 500_000_000, "evil\x1b[2J\nroot")],
            rest: Usage::of(&[(Metric::Cpu, 1)]),
            ..Interval::default()
        }
    }

    #[test]
    fn the_busiest_stand_first_and_lines_are_lines() {
        let names = Names::from([(0, Text::from("root"))]);
        let table = text(&interval(), By::Process, &names);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 4, "{table}");
        assert!(lines[0].trim_start().starts_with("PID") && lines[0].ends_with("NAME"));
        let words: Vec<&str> = lines[1].split_whitespace().collect();
        assert_eq!(words[..3], ["2", "root", "50.0"], "{table}");
        assert!(lines[1].ends_with("$'evil\\x1b[2J\\x0aroot'"), "{table}");
        assert!(lines[3].ends_with("(rest)"));
        assert!(!table.contains('\x1b'));
    }

    #[test]
    fn json_tells_only_what_is_known() {
        let format = format::named("ecs").unwrap();
        let out = json(
            &interval(),
            By::Process,
            &Names::new(),
            (&Record::new(), &Table::new(String::new(), crate::record::Boot(0))),
            format,
        );
        let rows: Vec<serde_json::Value> = out
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[0]["process"]["pid"], 2);
        assert_eq!(rows[0]["sensor"]["interval_ms"], 1000);
        assert_eq!(rows[0]["sensor"]["usage"]["cpu_ns"], 500_000_000);
        assert!(rows[0]["sensor"]["usage"].get("net").is_none());
        assert_eq!(rows[2]["sensor"]["unaccounted"], true);
    }
}
