//! What a setting is: its name, its default, its rule, and who may see it.
//!
//! Each section's file declares its settings as statics; `table.rs` lists them all. Flags, the
//! help text, the reference document, the configuration file's keys, the faults and the values
//! themselves come from these declarations and from nowhere else. No setting is declared here.

#[cfg(test)]
use super::rule::Reason;
use super::rule::Rule;

/// Whether a setting's value may be shown and passed on a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secrecy {
    Open,
    /// Never printed, never a flag: every user of the machine can read command lines.
    Secret,
}

/// What the table, the help text and the merge need to know of a setting, whatever its type.
#[derive(Debug)]
pub(super) struct Card {
    /// The environment variable's name, which names the setting everywhere.
    pub(super) name: &'static str,
    /// As one would write it; empty for a setting that has none.
    pub(super) default: &'static str,
    /// One line.
    pub(super) about: &'static str,
    /// Where the earlier manager's configuration file kept it, such as `server.port`.
    pub(super) earlier_keys: &'static [&'static str],
    /// Another environment variable that is read when this one is unset.
    pub(super) environment_alias: Option<&'static str>,
    pub(super) secrecy: Secrecy,
}

impl Card {
    /// `SERVER_PORT` → `server-port`, without the dashes in front.
    pub(super) fn flag(&self) -> Option<String> {
        match self.secrecy {
            Secrecy::Secret => None,
            Secrecy::Open => Some(self.name.to_ascii_lowercase().replace('_', "-")),
        }
    }
}

/// A declared setting.
#[derive(Debug)]
pub(super) struct Setting<R> {
    pub(super) card: Card,
    pub(super) rule: R,
}

impl<R> Setting<R> {
    pub(super) const fn new(
        name: &'static str,
        default: &'static str,
        about: &'static str,
        rule: R,
    ) -> Self {
        let card = Card {
            name,
            default,
            about,
            earlier_keys: &[],
            environment_alias: None,
            secrecy: Secrecy::Open,
        };
        Self { card, rule }
    }

    pub(super) const fn earlier_keys(mut self, keys: &'static [&'static str]) -> Self {
        self.card.earlier_keys = keys;
        self
    }

    pub(super) const fn environment_alias(mut self, name: &'static str) -> Self {
        self.card.environment_alias = Some(name);
        self
    }

    pub(super) const fn secret(mut self) -> Self {
        self.card.secrecy = Secrecy::Secret;
        self
    }
}

/// A setting of any type, as the table holds it.
pub(super) trait Described: Sync {
    fn card(&self) -> &Card;
    fn allowed(&self) -> String;
    /// The reason, if the text would be refused. For checks of the table itself.
    #[cfg(test)]
    fn refusal(&self, text: &str) -> Option<Reason>;
}

impl<R: Rule + Sync> Described for Setting<R> {
    fn card(&self) -> &Card {
        &self.card
    }

    fn allowed(&self) -> String {
        self.rule.allowed()
    }

    #[cfg(test)]
    fn refusal(&self, text: &str) -> Option<Reason> {
        self.rule.parse(text).err()
    }
}

#[cfg(test)]
mod tests {
    use super::super::rule::PATH;
    use super::*;

    #[test]
    fn a_flag_is_the_name_in_lower_case_with_dashes_and_secrets_have_none() {
        let open = Setting::new("HEALTH_CHECK_RETRY", "", "", PATH);
        assert_eq!(open.card.flag().as_deref(), Some("health-check-retry"));
        assert_eq!(Setting::new("DB_PASSWORD", "", "", PATH).secret().card.flag(), None);
    }
}
