//! The one list of all settings, by section, in the order in which everybody reads them.
//!
//! A setting is declared in its section's file; a setting that is missing here has no flag, no
//! environment variable and no documentation, and a test notices.

use super::setting::Described;
use super::{
    access, database, engine, health, logging, notification, server, source, storage, targets,
    traces,
};

/// Settings that belong together in the help text and in the reference document.
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) settings: &'static [&'static dyn Described],
}

pub(super) static SECTIONS: &[Section] = &[
    Section { title: "Server", settings: server::SETTINGS },
    Section { title: "Access", settings: access::SETTINGS },
    Section { title: "Storage", settings: storage::SETTINGS },
    Section { title: "PostgreSQL", settings: database::SETTINGS },
    Section { title: "Engine", settings: engine::SETTINGS },
    Section { title: "Health checks", settings: health::SETTINGS },
    Section { title: "Notifications", settings: notification::SETTINGS },
    Section { title: "Targets of checks and notifications", settings: targets::SETTINGS },
    Section { title: "Logging", settings: logging::SETTINGS },
    Section {
        title: "Traces (in a program built with the feature traces)",
        settings: traces::SETTINGS,
    },
    Section { title: "Configuration file", settings: &[&source::CONFIG_FILE] },
];

pub(super) fn settings() -> impl Iterator<Item = &'static dyn Described> {
    SECTIONS.iter().flat_map(|section| section.settings).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_default_is_allowed_by_its_own_setting() {
        for setting in settings().filter(|setting| !setting.card().default.is_empty()) {
            let card = setting.card();
            assert_eq!(setting.refusal(card.default), None, "{}", card.name);
        }
    }

    #[test]
    fn every_name_and_every_earlier_key_belongs_to_one_setting() {
        let mut seen = BTreeSet::new();
        for card in settings().map(Described::card) {
            let names = [card.name].into_iter().chain(card.environment_alias);
            for name in names.chain(card.earlier_keys.iter().copied()) {
                assert!(seen.insert(name), "{name} stands twice");
            }
        }
    }

    #[test]
    fn every_setting_says_what_it_is_in_one_line() {
        for setting in settings() {
            let card = setting.card();
            assert!(!card.about.is_empty() && !setting.allowed().is_empty(), "{}", card.name);
            assert!(!card.about.contains('\n') && !card.about.ends_with('.'), "{}", card.name);
        }
    }
}
