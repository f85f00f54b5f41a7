//! Results as Markdown.

use crate::machine::Origin;
use crate::results::{
    Curve, Idle, Isolated, Open, Pages, Receive, Relayed, Skipped, Spread, Watched,
};
use crate::targets::Target;

pub(super) fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let rows: Vec<Vec<String>> = rows.into_iter().collect();
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let figures = |column: usize| {
        let figure = |cell: &String| cell.starts_with(|c: char| c.is_ascii_digit() || c == '–');
        rows.iter().all(|row| row.get(column).is_some_and(figure))
    };
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let rule = (0..head.len()).map(|column| if figures(column) { "--:" } else { "---" });
    let rule: Vec<String> = rule.map(str::to_owned).collect();
    let mut text = line(&head) + &line(&rule);
    text.extend(rows.iter().map(|row| line(row)));
    text
}

/// Each machine once, in the order of the runs.
pub(super) fn machines(origins: &[&Origin]) -> String {
    let mut text = "\n## Where\n\n".to_owned();
    let mut seen = Vec::new();
    for origin in origins {
        let machine = &origin.machine;
        let name = (
            &machine.cpu,
            &machine.kernel,
            machine.cores,
            &machine.file_system,
        );
        if seen.contains(&name) {
            continue;
        }
        seen.push(name);
        text += &format!(
            "{}, {} cores, {} GiB, {}, {}; appending 4 KiB and fdatasync take {} µs (99th percentile \
             {} µs). Servers on core {}, load from core {}.\n",
            machine.cpu,
            machine.cores,
            machine.memory_gib,
            machine.kernel,
            machine.file_system,
            count(machine.sync_median),
            count(machine.sync_p99),
            machine.server_core,
            machine.load_core
        );
    }
    text
}

pub(super) fn origin(
    Origin {
        date,
        command,
        commit,
        ..
    }: &Origin,
) -> String {
    format!("*{date}, commit {commit}:* `{command}`")
}

pub(super) fn receive(receive: &Receive) -> String {
    let mut text = format!(
        "{} connections, bodies of {} bytes, {} rounds of {} s.\n\n",
        receive.connections, receive.body, receive.rounds, receive.seconds
    );
    let mut rows: Vec<_> = receive.targets.iter().collect();
    let rate = |rates: &[f64]| Spread::of(rates.iter().copied()).map_or(0.0, |rate| rate.median);
    rows.sort_by(|one, other| rate(&other.rates).total_cmp(&rate(&one.rates)));
    let head = [
        "target",
        "requests/s",
        "least – most",
        "µs CPU each",
        "busy after, s",
        "MiB resident",
        "what it is",
    ];
    text += &table(
        &head,
        rows.into_iter().map(|received| {
            let target = Target::named(&received.target);
            let name = &received.target;
            let what = target.map_or("", |target| target.what);
            vec![
                match target.is_some_and(|target| target.durable) {
                    true => format!("**{name}**"),
                    false => name.clone(),
                },
                median(&received.rates, 0),
                ends(&received.rates),
                median(&received.cpu_micros, 1),
                median(&received.behind, 1),
                format!("{:.0}", received.resident_mib),
                match &received.version {
                    Some(version) => format!("{what} ({version})"),
                    None => what.to_owned(),
                },
            ]
        }),
    );
    let ceiling = median(&receive.ceiling, 0);
    text += &format!(
        "\n*Busy after* is how long a target went on working after its last answer. The load generator \
         itself manages {ceiling} requests/s with a server that answers a fixed \
         200 without a look.\n"
    );
    text + &skipped(&receive.skipped)
}

pub(super) fn open_title(open: &Open) -> String {
    let rate = count(open.rate as u64);
    format!(
        "Latency at {rate} requests/s of {} bytes",
        count(open.body as u64)
    )
}

pub(super) fn open(open: &Open) -> String {
    let mut text = format!(
        "{} requests/s evenly over {} connections, {} rounds of {} s; from the time a request was \
         scheduled for, in ms.\n\n",
        count(open.rate as u64),
        open.connections,
        open.rounds,
        open.seconds
    );
    let millis = |micros: f64| format!("{:.2}", micros / 1e3);
    let head = [
        "target",
        "median",
        "99 %",
        "least – most",
        "99.9 %",
        "longest",
    ];
    text += &table(
        &head,
        open.targets.iter().map(|latency| {
            let at = |wanted: f64| {
                let mut all = latency.percentiles.iter();
                let found = all.find(|(percentile, _)| (percentile - wanted).abs() < 1e-9);
                found.map_or_else(|| "–".to_owned(), |(_, micros)| millis(*micros))
            };
            let of = |values: &[f64]| Spread::of(values.iter().copied());
            let (p50, p99) = (of(&latency.p50), of(&latency.p99));
            let shown =
                |spread: Option<Spread>| spread.map_or_else(String::new, |s| millis(s.median));
            vec![
                latency.target.clone(),
                shown(p50),
                shown(p99),
                p99.map_or_else(String::new, |p| {
                    format!("{} – {}", millis(p.low), millis(p.high))
                }),
                at(99.9),
                at(100.0),
            ]
        }),
    );
    text + &skipped(&open.skipped)
}

pub(super) fn relay(relay: &Relayed) -> String {
    let mut text = format!(
        "{} deliveries a round to local subscribers that answer a fixed 200, bodies of {} bytes, {} \
         rounds; 64 on their way at once to one subscriber, 8 to each of several.\n\n",
        count(relay.deliveries),
        relay.body,
        relay.rounds
    );
    text += &table(
        &[
            "sender",
            "subscribers",
            "deliveries/s",
            "least – most",
            "µs CPU each",
        ],
        relay.senders.iter().map(|by| {
            vec![
                by.sender.clone(),
                count(by.subscribers),
                median(&by.rates, 0),
                ends(&by.rates),
                median(&by.cpu_micros, 1),
            ]
        }),
    );
    text
}

pub(super) fn curve_title(curve: &Curve) -> String {
    match curve.over.as_str() {
        "connections" => "Connections",
        "body" => "Length of a body",
        "kept" => "Events kept",
        "subscribers" => "Consumers of each event",
        _ => "Conversations",
    }
    .to_owned()
}

pub(super) fn curve(curve: &Curve) -> String {
    let mut text = format!(
        "{} rounds of {} s; {} each second, the µs of CPU time for each, and MiB resident.\n\n",
        curve.rounds, curve.seconds, curve.counted
    );
    let mut head = vec![curve.over.as_str()];
    head.extend(curve.targets.iter().map(|of| of.target.as_str()));
    let points = curve.targets.first().map_or(&[][..], |of| &of.points);
    text += &table(
        &head,
        points.iter().enumerate().map(|(number, point)| {
            let mut row = vec![count(point.at)];
            row.extend(curve.targets.iter().map(|of| match of.points.get(number) {
                Some(point) => format!(
                    "{} ({} µs, {:.0} MiB)",
                    median(&point.rates, 0),
                    median(&point.cpu_micros, 1),
                    point.resident_mib
                ),
                None => "–".to_owned(),
            }));
            row
        }),
    );
    text
}

pub(super) fn idle(idle: &Idle) -> String {
    format!(
        "offhook with {} events kept of {} conversations and {} subscriptions: {:.1} ms of CPU time and \
         {} wake-ups in {} s, {:.0} MiB resident.\n",
        count(idle.kept),
        count(idle.lanes),
        count(idle.subscriptions as u64),
        idle.cpu_millis,
        idle.wakes,
        idle.seconds,
        idle.resident_mib
    )
}

pub(super) fn isolated(isolated: &Isolated) -> String {
    let mut text = format!(
        "A handler fails all {} events of one session, in {} conversations. Events of another session, one after \
         the other, from the request until they are handled, in ms; {} rounds of {} s, in turns with a server \
         that keeps as many events and has handled them.\n\n",
        count(isolated.failing),
        count(isolated.lanes),
        isolated.rounds,
        isolated.seconds
    );
    let millis = |micros: f64| format!("{:.2}", micros / 1e3);
    let rows = [("without", &isolated.without), ("with", &isolated.with)].map(|(name, others)| {
        let of = |values: &[f64]| Spread::of(values.iter().copied());
        let (p50, longest) = (of(&others.p50), of(&others.longest));
        vec![
            name.to_owned(),
            count(others.counts.iter().sum()),
            p50.map_or_else(String::new, |p50| millis(p50.median)),
            p50.map_or_else(String::new, |p50| {
                format!("{} – {}", millis(p50.low), millis(p50.high))
            }),
            longest.map_or_else(String::new, |longest| millis(longest.high)),
            format!("{:.0}", others.resident_mib),
        ]
    });
    let head = [
        "failing events",
        "events",
        "median",
        "least – most",
        "longest",
        "MiB resident",
    ];
    text += &table(&head, rows);
    text
}

pub(super) fn watched(watched: &Watched) -> String {
    let all = [&watched.without, &watched.with, &watched.ratios];
    let [without, with, ratio] = all.map(|values| median(values, 2));
    let what = if watched.only_streams {
        "follow the stream"
    } else {
        "have the dashboard open"
    };
    format!(
        "{} requests/s of {} bytes: {without} µs of CPU time each; while {} viewers {what}, {with} µs: {ratio} \
         times as much, in {} rounds of two slices of {} s in turns.\n",
        watched.rate, watched.body, watched.viewers, watched.rounds, watched.seconds
    )
}

pub(super) fn pages(pages: &Pages) -> String {
    let memory = if pages.drop_caches {
        ", with nothing of it in the system's memory"
    } else {
        ""
    };
    let text = format!(
        "Each was asked for {} times, on one connection, after a start on the full journal{memory}. In ms.\n\n",
        pages.asks
    );
    let rows = pages.pages.iter().map(|page| {
        let bound = page.bound_ms.map(|bound| format!("{bound:.0}"));
        let times = [page.first_ms, page.p50_ms, page.p95_ms];
        let mut row = vec![format!("`{}`", page.path)];
        row.extend(times.map(|time| format!("{time:.1}")));
        row.push(bound.unwrap_or_else(|| "–".to_owned()));
        row
    });
    text + &table(&["path", "first", "median", "95 %", "at most"], rows)
}

fn skipped(skipped: &[Skipped]) -> String {
    let lines = skipped
        .iter()
        .map(|Skipped { target, why }| format!("- {target}: {why}\n"));
    match skipped {
        [] => String::new(),
        _ => format!("\nNot measured:\n\n{}", lines.collect::<String>()),
    }
}

fn median(values: &[f64], digits: usize) -> String {
    match Spread::of(values.iter().copied()) {
        None => "–".to_owned(),
        Some(spread) if digits == 0 => count(spread.median.round() as u64),
        Some(spread) => format!("{:.digits$}", spread.median),
    }
}

fn ends(values: &[f64]) -> String {
    let whole = |value: f64| count(value.round() as u64);
    Spread::of(values.iter().copied()).map_or_else(String::new, |spread| {
        format!("{} – {}", whole(spread.low), whole(spread.high))
    })
}

/// A number with its thousands set apart.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (12_345_678, "12,345,678"),
        ] {
            assert_eq!(count(number), text);
        }
    }
}
