//! The columns of ps: those of `-ef` and `aux`, and any by name.

use super::process::{Machine, Process};

/// One column.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// Its head.
    pub(super) title: String,
    /// What it shows of a process.
    pub(super) show: fn(&Process, &Machine) -> String,
}

/// The names of a column in `-o`, its head, and what it shows.
type Known = (
    &'static [&'static str],
    &'static str,
    fn(&Process, &Machine) -> String,
);

const KNOWN: &[Known] = &[
    (&["pid"], "PID", |process, _| process.pid.to_string()),
    (&["ppid"], "PPID", |process, _| process.parent.to_string()),
    (&["pgid", "pgrp"], "PGID", |process, _| {
        process.group.to_string()
    }),
    (&["sid", "sess"], "SID", |process, _| {
        process.session.to_string()
    }),
    (&["user", "euser"], "USER", |process, _| user(process.uid)),
    (&["uid", "euid"], "UID", |process, _| {
        process.uid.to_string()
    }),
    (&["group", "egroup"], "GROUP", |process, _| {
        user(process.gid)
    }),
    (&["gid", "egid"], "GID", |process, _| {
        process.gid.to_string()
    }),
    (&["comm", "ucmd"], "COMMAND", |process, _| {
        process.name.clone()
    }),
    (&["args", "cmd", "command"], "COMMAND", |process, _| {
        command(process)
    }),
    (&["stat", "s", "state"], "S", |process, _| {
        process.state.clone()
    }),
    (&["c"], "C", |process, machine| {
        (permille(process, machine) / 10).to_string()
    }),
    (&["pcpu", "%cpu"], "%CPU", |process, machine| {
        decimal(permille(process, machine))
    }),
    (&["pmem", "%mem"], "%MEM", |process, machine| {
        let share = process.resident * machine.page * 1000 / machine.memory.max(1);
        decimal(share)
    }),
    (&["vsz", "vsize"], "VSZ", |process, _| {
        (process.size / 1024).to_string()
    }),
    (&["rss", "rssize"], "RSS", |process, machine| {
        (process.resident * machine.page / 1024).to_string()
    }),
    (&["tty", "tt", "tname"], "TT", |process, _| {
        terminal(process.terminal)
    }),
    (
        &["stime", "start_time", "start"],
        "STIME",
        |process, machine| start(process, machine),
    ),
    (&["time", "cputime"], "TIME", |process, machine| {
        clock(process.ticks / machine.hertz)
    }),
    (&["etime"], "ELAPSED", |process, machine| {
        let age = age(process, machine);
        match (age / 86_400, age % 86_400) {
            (0, rest) if rest < 3600 => format!("{:02}:{:02}", rest / 60, rest % 60),
            (0, rest) => clock(rest),
            (days, rest) => format!("{days}-{}", clock(rest)),
        }
    }),
    (&["etimes"], "ELAPSED", |process, machine| {
        age(process, machine).to_string()
    }),
    (&["ni", "nice"], "NI", |process, _| process.nice.to_string()),
    (&["nlwp", "thcount"], "NLWP", |process, _| {
        process.threads.to_string()
    }),
];

/// What `ps -ef` and `ps aux` show: the head and the column's name.
const FULL: [(&str, &str); 8] = [
    ("UID", "user"),
    ("PID", "pid"),
    ("PPID", "ppid"),
    ("C", "c"),
    ("STIME", "stime"),
    ("TTY", "tty"),
    ("TIME", "time"),
    ("CMD", "args"),
];
const BSD: [(&str, &str); 11] = [
    ("USER", "user"),
    ("PID", "pid"),
    ("%CPU", "pcpu"),
    ("%MEM", "pmem"),
    ("VSZ", "vsz"),
    ("RSS", "rss"),
    ("TTY", "tty"),
    ("STAT", "stat"),
    ("START", "stime"),
    ("TIME", "time"),
    ("COMMAND", "args"),
];

/// Reads arguments of ps: none, `-ef`, `aux`, or `-o` with fields.
///
/// # Errors
///
/// What is not understood, and what would be.
pub(super) fn parse(arguments: &[String]) -> Result<Vec<Column>, String> {
    let mut chosen = Vec::new();
    let mut bsd = false;
    let mut words = arguments
        .iter()
        .flat_map(|text| text.split_ascii_whitespace());
    while let Some(word) = words.next() {
        let fields = match word {
            "-e" | "-f" | "-ef" | "-fe" | "-A" | "-a" => continue,
            "aux" | "-aux" | "ax" | "u" => {
                bsd = true;
                continue;
            }
            "-o" | "-eo" | "o" | "axo" => words.next().unwrap_or_default(),
            word => word
                .strip_prefix("-eo")
                .or_else(|| word.strip_prefix("-o"))
                .ok_or_else(|| {
                    format!(
                        "ps argument {word:?} is not understood: use -ef, aux or -o FIELD,FIELD"
                    )
                })?,
        };
        for field in fields.split(',') {
            let (name, title) = field
                .split_once('=')
                .map_or((field, None), |(name, title)| (name, Some(title)));
            chosen.push(column(name, title)?);
        }
    }
    if !chosen.is_empty() {
        return Ok(chosen);
    }
    let table = if bsd { &BSD[..] } else { &FULL[..] };
    table
        .iter()
        .map(|(title, name)| column(name, Some(title)))
        .collect()
}

fn column(name: &str, title: Option<&str>) -> Result<Column, String> {
    let found = KNOWN.iter().find(|(names, ..)| names.contains(&name));
    let Some((_, usual, show)) = found else {
        let all: Vec<_> = KNOWN.iter().map(|(names, ..)| names[0]).collect();
        return Err(format!(
            "ps has no field {name:?} here: the fields are {}",
            all.join(", ")
        ));
    };
    Ok(Column {
        title: title.unwrap_or(usual).to_owned(),
        show: *show,
    })
}

/// The guest has no list of users but root.
fn user(id: u32) -> String {
    if id == 0 {
        "root".to_owned()
    } else {
        id.to_string()
    }
}

fn command(process: &Process) -> String {
    if process.arguments.is_empty() {
        format!("[{}]", process.name)
    } else {
        process.arguments.join(" ")
    }
}

fn age(process: &Process, machine: &Machine) -> u64 {
    machine
        .uptime
        .saturating_sub(process.started / machine.hertz)
}

/// Thousandths of one processor, over the life of the process.
fn permille(process: &Process, machine: &Machine) -> u64 {
    process.ticks * 1000 / machine.hertz / age(process, machine).max(1)
}

fn decimal(permille: u64) -> String {
    format!("{}.{}", permille / 10, permille % 10)
}

fn clock(seconds: u64) -> String {
    format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// The device number's major part is in bits 8 to 15 (proc_pid_stat(5)).
fn terminal(device: u32) -> String {
    let (major, minor) = (device >> 8 & 0xff, device & 0xff | device >> 12 & 0xfff00);
    match major {
        136..=143 => format!("pts/{}", minor + (major - 136) * 256),
        _ => "?".to_owned(),
    }
}

/// The time of day of the start; the date of one before today. UTC.
fn start(process: &Process, machine: &Machine) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let started = machine.now.saturating_sub(age(process, machine));
    if started / 86_400 == machine.now / 86_400 {
        return format!("{:02}:{:02}", started / 3600 % 24, started / 60 % 60);
    }
    let (_, month, day) = crate::image::civil_from_days((started / 86_400) as i64);
    format!("{}{day:02}", MONTHS[(month as usize - 1).min(11)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(arguments: &[&str]) -> Vec<(String, String)> {
        let process = Process {
            pid: 7,
            parent: 1,
            uid: 1000,
            name: "sleep".to_owned(),
            arguments: vec!["sleep".to_owned(), "5".to_owned()],
            state: "S".to_owned(),
            terminal: 136 << 8 | 3,
            ticks: 12_000,
            started: 90_000 * 100,
            resident: 256,
            ..Process::default()
        };
        let machine = Machine {
            hertz: 100,
            page: 4096,
            memory: 1 << 30,
            uptime: 91_000,
            now: 1_764_000_000,
        };
        let arguments: Vec<_> = arguments.iter().map(|word| (*word).to_owned()).collect();
        parse(&arguments)
            .unwrap()
            .iter()
            .map(|column| (column.title.clone(), (column.show)(&process, &machine)))
            .collect()
    }

    #[test]
    fn the_usual_columns_are_those_of_ps_ef() {
        let shown: Vec<_> = show(&[])
            .into_iter()
            .map(|(title, text)| format!("{title}={text}"))
            .collect();
        assert_eq!(
            shown.join(" "),
            "UID=1000 PID=7 PPID=1 C=12 STIME=15:43 TTY=pts/3 TIME=00:02:00 CMD=sleep 5"
        );
        assert_eq!(show(&["-ef"]), show(&[]));
        assert_eq!(show(&["aux"])[2], ("%CPU".to_owned(), "12.0".to_owned()));
    }

    #[test]
    fn fields_are_chosen_and_named() {
        let pair = |title: &str, text: &str| (title.to_owned(), text.to_owned());
        assert_eq!(
            show(&["-o", "pid,comm=NAME"]),
            [pair("PID", "7"), pair("NAME", "sleep")]
        );
        assert_eq!(show(&["-eo", "etime"]), [pair("ELAPSED", "16:40")]);
    }

    #[test]
    fn what_is_not_understood_is_told_with_what_is() {
        let fault = |word: &str| parse(&["-o".to_owned(), word.to_owned()]).unwrap_err();
        assert!(fault("colour").contains("the fields are pid, ppid"));
        assert!(
            parse(&["--forest".to_owned()])
                .unwrap_err()
                .contains("-ef, aux")
        );
    }
}
