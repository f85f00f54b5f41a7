//! What senders sign besides the body: their timestamp and the event's id, in different forms.

use super::finding::Finding;
use super::form::Form;
use crate::signature::generic::unix_time;
use crate::signature::scheme::Headers;

/// What other templates than the scheme's would sign, with the finding for each if it is the right one.
pub(super) fn others(form: &Form, headers: &dyn Headers, body: &[u8]) -> Vec<(Vec<u8>, Finding)> {
    let of_header = |name: &'static str| Some((name, headers.value(name).ok()?));
    let times = TIMES.into_iter().filter_map(of_header);
    let times: Vec<_> = times
        .filter(|(_, value)| unix_time(value).is_some())
        .collect();
    let ids: Vec<_> = IDS.into_iter().filter_map(of_header).collect();
    let mut found = vec![("{body}".to_owned(), body.to_vec())];
    for (name, time) in times {
        let placeholder = format!("{{timestamp:{name}}}");
        for (before, between) in [("", "."), ("", ""), ("", ":"), ("v0:", ":"), ("", "\n")] {
            let template = format!("{before}{placeholder}{between}{{body}}");
            let signed = [before.as_bytes(), time, between.as_bytes(), body].concat();
            found.push((template, signed));
        }
        for between in ["", "."] {
            let template = format!("{{body}}{between}{placeholder}");
            found.push((template, [body, between.as_bytes(), time].concat()));
        }
        for (id, value) in &ids {
            let template = format!("{{header:{id}}}.{placeholder}.{{body}}");
            found.push((template, [value, &b"."[..], time, b".", body].concat()));
        }
    }
    let others = found
        .into_iter()
        .filter(|(template, _)| *template != form.template);
    let others = others.map(|(template, signed)| {
        let why = format!("it is made over {template:?}, not over {:?}", form.template);
        (
            signed,
            Finding::new("template", why).with_key("template", template),
        )
    });
    others.collect()
}

/// Headers, in lower case, in which senders write the time.
const TIMES: [&str; 7] = [
    "x-webhook-timestamp",
    "webhook-timestamp",
    "x-timestamp",
    "x-signature-timestamp",
    "x-slack-request-timestamp",
    "svix-timestamp",
    "timestamp",
];

/// Headers, in lower case, in which senders write the id of an event.
const IDS: [&str; 3] = ["webhook-id", "x-webhook-id", "svix-id"];
