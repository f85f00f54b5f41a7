//! What proc(5) knows of a process and all its descendants: CPU time, memory, wake-ups.

use std::time::Duration;

/// What a family of processes has used.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// User and system time, with that of children that have ended; to a hundredth of a second.
    pub(crate) cpu: Duration,
    /// Memory now, in bytes: the resident set, or for several processes each one's share of it.
    pub(crate) resident: u64,
}

/// The processes themselves and all their descendants.
pub(crate) fn family(roots: &[u32]) -> Vec<u32> {
    stats(roots).iter().map(|stat| stat.id).collect()
}

pub(crate) fn usage(roots: &[u32]) -> Usage {
    let family = stats(roots);
    let ticks: u64 = family.iter().map(|stat| stat.ticks).sum();
    let resident = match &family[..] {
        [one] => field(one.id, "status", "VmRSS:"),
        several => {
            let shares = several.iter();
            shares
                .map(|stat| field(stat.id, "smaps_rollup", "Pss:"))
                .sum()
        }
    };
    Usage {
        cpu: Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()),
        resident: resident * 1024,
    }
}

/// CPU time in nanoseconds and times that a thread was woken, for what is too little for
/// [`Usage::cpu`]. Threads that have ended do not count.
pub(crate) fn fine(roots: &[u32]) -> (Duration, u64) {
    let (mut cpu, mut wakes) = (0, 0);
    for process in family(roots) {
        let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else {
            continue;
        };
        for thread in threads.flatten() {
            let read = |name| std::fs::read_to_string(thread.path().join(name)).unwrap_or_default();
            let run = read("schedstat")
                .split(' ')
                .next()
                .and_then(|text| text.parse::<u64>().ok());
            cpu += run.unwrap_or_default();
            wakes += number_after(&read("status"), "voluntary_ctxt_switches:");
        }
    }
    (Duration::from_nanos(cpu), wakes)
}

struct Stat {
    id: u32,
    parent: u32,
    ticks: u64,
}

fn stats(roots: &[u32]) -> Vec<Stat> {
    let Ok(folder) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let ids = folder
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut all: Vec<Stat> = ids.filter_map(stat).collect();
    let mut found: Vec<Stat> = Vec::new();
    let mut known = roots.to_vec();
    // Each pass finds the children of those found before.
    loop {
        let (next, rest) = all
            .into_iter()
            .partition(|stat: &Stat| known.contains(&stat.id) || known.contains(&stat.parent));
        all = rest;
        let next: Vec<Stat> = next;
        if next.is_empty() {
            return found;
        }
        known.extend(next.iter().map(|stat| stat.id));
        found.extend(next);
    }
}

fn stat(id: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name before may hold anything.
    let (_, fields) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks = fields.get(11..15)?.iter();
    Some(Stat {
        id,
        parent: fields.get(1)?.parse().ok()?,
        // User and system, its own and that of children it has waited for.
        ticks: ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum(),
    })
}

fn field(id: u32, file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{id}/{file}")).unwrap_or_default();
    number_after(&text, name)
}

fn number_after(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_with_its_use() {
        let us = std::process::id();
        assert!(family(&[us]).contains(&us));
        assert!(usage(&[us]).resident > 100_000);
        assert!(fine(&[us]).0 > Duration::ZERO);
    }

    #[test]
    fn numbers_are_found_by_their_name() {
        let status = "Name:\tx\nVmRSS:\t   1234 kB\nvoluntary_ctxt_switches:\t7\n";
        assert_eq!(number_after(status, "VmRSS:"), 1234);
        assert_eq!(number_after(status, "voluntary_ctxt_switches:"), 7);
        assert_eq!(number_after(status, "Pss:"), 0);
    }
}
