//! Dead: what consumers have given up on, grouped by the consumer and its reason; then the letters.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::{HttpResponse, web};
use maud::{Markup, html};
use serde_json::{Value, json};

use super::parts::{
    Act, Page, ago, beginning, call, consumer_link, fact, fragment, many, short_name, time,
    with_query,
};
use crate::admin::dead::{DeadQuery, ShownLetter, Which, find, left_out, select};
use crate::admin::error::ApiError;
use crate::admin::role::Role;
use crate::admin::state::State;
use crate::{EventId, Timestamp};

/// `GET /ui/dead`
pub(super) async fn page(
    state: State,
    role: Role,
    query: web::Query<DeadQuery>,
) -> Result<HttpResponse, ApiError> {
    let query = query.into_inner();
    // The groups are those of one large page: counting all letters could take long.
    let asked = DeadQuery {
        consumer: query.consumer.clone(),
        before: query.before.clone(),
        limit: Some(MOST_GROUPED),
    };
    let page = find(&state, &asked).await?;
    let groups = groups(&page.dead);
    let names: BTreeSet<&str> = page.dead.iter().map(|letter| &*letter.consumer).collect();
    let idle = names.into_iter();
    let idle: BTreeSet<&str> = idle.filter(|name| state.consumer(name).is_err()).collect();
    let content = html! {
        div.head {
            h1 { "Dead letters" }
            @if let Some(consumer) = &query.consumer { span { "of " (consumer_link(consumer)) " " a href="dead" { "show all" } } }
            @if role.may_change() && !page.dead.is_empty() {
                span.end { a.button data-panel href=(with_query("ui/dead/all", &[("consumer", query.consumer.as_deref())])) { "All…" } }
            }
        }
        @if page.dead.is_empty() {
            p { "No dead letters." }
        } @else {
            (groups_table(&groups, &idle, role))
            @if page.next.is_some() || query.before.is_some() {
                p.quiet { "The groups are those of the " (many(page.dead.len() as u64, "letter")) " of this page." }
            }
            h2 { "Letters, newest event first" }
            (letters_table(&page.dead, &idle, role))
            @if let Some(next) = &page.next {
                p { a.button rel="next" href=(with_query("dead", &[("consumer", query.consumer.as_deref()), ("before", Some(next))])) { "Older" } }
            }
        }
        @if query.before.is_some() {
            p { a.button rel="prev" href=(with_query("dead", &[("consumer", query.consumer.as_deref())])) { "Newest" } }
        }
    };
    let page = Page {
        stream: query
            .before
            .is_none()
            .then(|| "api/stream?kinds=state,replay".to_owned()),
        ..Page::new("Dead letters")
    };
    Ok(page.answer(&state, &content).await)
}

/// Letters of one consumer whose reasons differ only by numbers.
struct Group<'a> {
    letters: Vec<&'a ShownLetter>,
    first: Timestamp,
    last: Timestamp,
}

/// The groups, the largest first.
fn groups(letters: &[ShownLetter]) -> Vec<Group<'_>> {
    let mut groups: BTreeMap<(&str, String), Group<'_>> = BTreeMap::new();
    for letter in letters {
        let reason = without_digits(&letter.reason);
        let group = groups
            .entry((&letter.consumer, reason))
            .or_insert_with(|| Group {
                letters: Vec::new(),
                first: letter.at,
                last: letter.at,
            });
        group.letters.push(letter);
        group.first = group.first.min(letter.at);
        group.last = group.last.max(letter.at);
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.letters.len()));
    groups
}

/// A reason with one sign in place of each number: a status stays, a time or a port does not count.
fn without_digits(reason: &str) -> String {
    let mut shown = String::new();
    for (index, part) in reason.split(|c: char| c.is_ascii_digit()).enumerate() {
        if index > 0 && !shown.ends_with('#') {
            shown.push('#');
        }
        shown.push_str(part);
    }
    shown
}

/// `GET /ui/dead/all`: what can be done with all of them, or with those of one consumer.
pub(super) async fn all(
    state: State,
    role: Role,
    query: web::Query<Which>,
) -> Result<HttpResponse, ApiError> {
    role.check_change()?;
    let which = query.into_inner();
    let (count, by_consumer) = select(&state, &which).await?;
    let left_out = left_out(&state, &by_consumer);
    let stay = left_out.iter().filter_map(|left| left["events"].as_u64());
    let replayed = (count as u64).saturating_sub(stay.sum());
    let to = which
        .consumer
        .as_deref()
        .map_or("their consumers", short_name);
    let letters = many(count as u64, "dead letter");
    let body = json!({ "consumer": which.consumer, "expected": count });
    let act = |name, ask, say, typed, method, path| Act {
        name,
        ask,
        say,
        typed,
        call: call(method, path, &body),
        then: None,
        told: None,
    };
    let replay = act(
        "Replay all",
        format!(
            "{} are handed over again to {to}, as new, with attempts from 1.",
            many(replayed, "dead letter")
        ),
        format!("Replay {} to {to}", many(replayed, "event")),
        None,
        "POST",
        "api/dead/replay",
    );
    let delete = act(
        "Delete all",
        format!("{letters} of {to} are deleted for good. The events stay."),
        format!("Delete {}", many(count as u64, "letter")),
        Some(count.to_string()),
        "DELETE",
        "api/dead",
    );
    Ok(fragment(html! {
        h2 { (letters) }
        dl.facts {
            @for (name, events) in by_consumer.iter().take(MOST_SHOWN) {
                (fact(short_name(name), Some(many(events.len() as u64, "event"))))
            }
        }
        @for left in &left_out {
            p.quiet { (many(left["events"].as_u64().unwrap_or_default(), "event")) " cannot be replayed: " (left["reason"].as_str().unwrap_or_default()) }
        }
        div.end {
            button type="button" data-close { "Close" }
            @if count > 0 { (delete.button(role)) }
            @if replayed > 0 { (replay.button(role)) }
        }
    }))
}

fn groups_table(groups: &[Group<'_>], idle: &BTreeSet<&str>, role: Role) -> Markup {
    html! {
        table {
            caption.unseen { "Groups by consumer and reason" }
            thead { tr {
                th scope="col" { "Consumer" } th scope="col" { "Reason" } th.number scope="col" { "Count" }
                th.wide-only scope="col" { "First" } th.wide-only scope="col" { "Last" } th scope="col" { span.unseen { "Actions" } }
            } }
            tbody {
                @for group in groups.iter().take(MOST_SHOWN) {
                    @let letter = group.letters[0];
                    tr {
                        th scope="row" { (consumer_link(&letter.consumer)) }
                        td { (beginning(&letter.reason, 200)) }
                        td.number { (group.letters.len()) }
                        td.wide-only { (ago(group.first)) }
                        td.wide-only { (ago(group.last)) }
                        td { span.actions {
                            @if idle.contains(&*letter.consumer) { small.quiet { "does not run" } } @else { (group.replay().button(role)) }
                            (group.delete().button(role))
                        } }
                    }
                }
            }
        }
    }
}

impl Group<'_> {
    fn count(&self) -> u64 {
        self.letters.len() as u64
    }

    fn short(&self) -> &str {
        short_name(&self.letters[0].consumer)
    }

    /// These letters, and no others.
    fn body(&self) -> Value {
        let letters = self.letters.iter();
        let ids: Vec<EventId> = letters.map(|letter| letter.id).collect();
        json!({ "consumer": self.letters[0].consumer, "expected": ids.len(), "ids": ids })
    }

    fn replay(&self) -> Act<'static> {
        let (count, short) = (many(self.count(), "event"), self.short());
        Act {
            name: "Replay",
            ask: format!("{count} are handed over again to {short}, as new, with attempts from 1."),
            say: format!("Replay {count} to {short}"),
            typed: None,
            call: call("POST", "api/dead/replay", &self.body()),
            then: None,
            told: None,
        }
    }

    fn delete(&self) -> Act<'static> {
        let count = self.letters.len();
        Act {
            name: "Delete",
            ask: format!(
                "{} of {} are deleted for good. The events stay.",
                many(self.count(), "dead letter"),
                self.short()
            ),
            say: format!("Delete {}", many(self.count(), "letter")),
            typed: Some(count.to_string()),
            call: call("DELETE", "api/dead", &self.body()),
            then: None,
            told: None,
        }
    }
}

fn letters_table(letters: &[ShownLetter], idle: &BTreeSet<&str>, role: Role) -> Markup {
    html! {
        table {
            caption.unseen { "Dead letters" }
            thead { tr {
                th scope="col" { "Given up" } th.wide-only scope="col" { "Consumer" } th.wide-only scope="col" { "Session" }
                th scope="col" { "Event" } th.wide-only scope="col" { "Reason" } th.number.wide-only scope="col" { "Attempts" }
                th scope="col" { span.unseen { "Actions" } }
            } }
            tbody {
                @for letter in letters.iter().take(MOST_SHOWN) {
                    @let id = letter.id.to_string();
                    tr data-id=(id) {
                        td { a.row href={ "events/" (id) } { (time(letter.at)) } }
                        td.wide-only { (consumer_link(&letter.consumer)) }
                        td.wide-only { @if let Some(session) = &letter.session { bdi { (session) } } }
                        td.short { (letter.event) }
                        td.wide-only { (beginning(&letter.reason, 200)) }
                        td.number.wide-only { (letter.attempts) }
                        td { @if !idle.contains(&*letter.consumer) { (replay_one(letter).button(role)) } }
                    }
                }
            }
        }
        @if letters.len() > MOST_SHOWN { p.quiet { "The newest " (MOST_SHOWN) " of these." } }
    }
}

fn replay_one(letter: &ShownLetter) -> Act<'static> {
    let short = short_name(&letter.consumer);
    let body = json!({ "consumer": letter.consumer, "id": letter.id });
    Act {
        name: "Replay",
        ask: format!("The event is handed over again to {short}, as new."),
        say: format!("Replay 1 event to {short}"),
        typed: None,
        call: call("POST", "api/dead/replay", &body),
        then: None,
        told: None,
    }
}

/// So many letters are grouped at a time.
const MOST_GROUPED: usize = 200;
const MOST_SHOWN: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_do_not_tell_reasons_apart() {
        assert_eq!(
            without_digits("timeout after 10 s"),
            without_digits("timeout after 9 s")
        );
        assert_ne!(
            without_digits("500 Internal"),
            without_digits("connection refused")
        );
        assert_eq!(without_digits("a1b22"), "a#b#");
    }
}
