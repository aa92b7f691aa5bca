//! `govctl subscribers SERVICE`: who is told, and who knows the current state.

use governance_api::{Subscriber, Subscribers, paths};

use crate::fault::{Fault, Kind, Outcome};
use crate::managers::Managers;
use crate::screen::{Format, Screen};
use crate::table::{BAD, Cell, GOOD, OPEN, Table};
use crate::text::{ago_of, encoded, now, seen_by};

pub(crate) async fn run(screen: Screen, mut managers: Managers, service: &str) -> Outcome {
    let found = of(&mut managers, service).await?;
    if found.subscribers.is_empty() {
        let what = format!("nobody subscribes to {service}");
        let hint = "a pod names the services it wants to hear of in `subscriptions` when it \
                    registers; `govctl pods -o wide` shows them";
        return Err(Fault::new(Kind::NotFound, what, hint).into());
    }
    match screen.format {
        Format::Json => screen.json(&found.subscribers),
        Format::Name => found.subscribers.iter().try_for_each(|one| screen.line(&name(one))),
        Format::Table | Format::Wide => screen.table(&table(&found.subscribers, screen.format)),
    }
}

/// Everybody who subscribes to a service.
pub(crate) async fn of(managers: &mut Managers, service: &str) -> Result<Subscribers, Fault> {
    managers.get(&paths::SUBSCRIBERS.replace("{service}", &encoded(service))).await
}

/// `service/pod`.
pub(crate) fn name(subscriber: &Subscriber) -> String {
    format!("{}/{}", subscriber.service_name, subscriber.pod_name)
}

fn table(subscribers: &[Subscriber], format: Format) -> Table {
    let now = now();
    let is_wide = format == Format::Wide;
    let mut head = vec!["SUBSCRIBER", "KNOWS", "BEHIND SINCE", "ATTEMPTS", "LAST ERROR"];
    head.extend(["REVISION", "SEES", "NOTIFICATIONS"].iter().filter(|_| is_wide));
    let mut table = Table::new(&head);
    for one in subscribers {
        let knows = match (&one.delivered_revision, &one.behind_since, &one.failing_since) {
            (_, Some(_), Some(_)) => Cell::styled("behind", BAD),
            (None, ..) => Cell::styled("nothing yet", OPEN),
            (Some(_), Some(_), None) => Cell::styled("on its way", OPEN),
            (Some(_), None, _) => Cell::styled("all", GOOD),
        };
        let since = one.behind_since.as_deref().map_or_else(String::new, |at| ago_of(at, now));
        let attempts = one.attempts.filter(|attempts| *attempts > 0);
        let attempts = attempts.map_or_else(String::new, |attempts| attempts.to_string());
        let error = one.last_error.as_deref().unwrap_or_default();
        let mut row: Vec<Cell> =
            vec![name(one).into(), knows, since.into(), attempts.into(), error.into()];
        if is_wide {
            row.push(one.delivered_revision.map_or_else(String::new, |r| r.to_string()).into());
            row.push(seen_by(&one.provider_ids, one.healthy_only).into());
            row.push(Cell::from(&one.notification_url));
        }
        table.push(row);
    }
    table
}
