//! Which of several managers is asked next. One of them is active; a standby says where.

use super::url::ManagerUrl;

/// The configured managers and the one that another named.
#[derive(Debug)]
pub(super) struct Managers {
    /// At least one, each with whether it was asked in this round without success.
    configured: Vec<(ManagerUrl, Asked)>,
    /// Index of the one to ask, unless there is a named one.
    current: usize,
    /// Named by a standby and not among the configured ones; asked, and kept while it answers.
    named: Option<ManagerUrl>,
    /// One is followed in each round.
    has_followed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    NotYet,
    InVain,
}

/// Whether it is worth asking the next one at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Round {
    /// The next one was not asked in this round.
    HasMore,
    /// All were: pause.
    IsOver,
}

impl Managers {
    pub(super) fn new(configured: Vec<ManagerUrl>) -> Self {
        let configured = configured.into_iter().map(|url| (url, Asked::NotYet)).collect();
        Self { configured, current: 0, named: None, has_followed: false }
    }

    /// The one to ask.
    pub(super) fn current(&self) -> &ManagerUrl {
        let configured = || self.configured.get(self.current).map(|(url, _)| url);
        self.named.as_ref().or_else(configured).expect("checked when it was built: at least one")
    }

    /// It answered as an active one does.
    pub(super) fn succeed(&mut self) {
        self.begin_round();
    }

    /// It did not: on to the one that it named, if that was not asked in this round, or to the next
    /// that was not. So all are asked in a round, whatever standbys with old news say.
    pub(super) fn fail(&mut self, active: Option<ManagerUrl>) -> Round {
        if self.named.take().is_none()
            && let Some((_, asked)) = self.configured.get_mut(self.current)
        {
            *asked = Asked::InVain;
        }
        let known = self.configured.iter().position(|(url, _)| Some(url) == active.as_ref());
        if known.is_none() && active.is_some() && !self.has_followed {
            (self.named, self.has_followed) = (active, true);
            return Round::HasMore;
        }
        let count = self.configured.len();
        let following = (1..=count).map(|step| (self.current + step) % count);
        let next = known.into_iter().chain(following).find(|index| self.is_due(*index));
        if let Some(next) = next {
            self.current = next;
            return Round::HasMore;
        }
        self.begin_round();
        self.current = known.unwrap_or((self.current + 1) % count);
        Round::IsOver
    }

    fn is_due(&self, index: usize) -> bool {
        self.configured.get(index).is_some_and(|(_, asked)| *asked == Asked::NotYet)
    }

    fn begin_round(&mut self) {
        self.configured.iter_mut().for_each(|(_, asked)| *asked = Asked::NotYet);
        self.has_followed = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> ManagerUrl {
        ManagerUrl::parse(text).unwrap()
    }

    fn managers() -> Managers {
        Managers::new(vec![url("http://a:1"), url("http://b:1"), url("http://c:1")])
    }

    #[test]
    fn every_manager_is_asked_once_in_a_round() {
        let mut managers = managers();
        for round in 0..2 {
            assert_eq!(*managers.current(), url("http://a:1"), "round {round}");
            assert_eq!(managers.fail(None), Round::HasMore);
            assert_eq!(*managers.current(), url("http://b:1"));
            assert_eq!(managers.fail(None), Round::HasMore);
            assert_eq!(*managers.current(), url("http://c:1"));
            assert_eq!(managers.fail(None), Round::IsOver);
        }
    }

    #[test]
    fn the_one_that_a_standby_names_is_asked_next() {
        let mut managers = managers();
        assert_eq!(managers.fail(Some(url("http://c:1"))), Round::HasMore);
        assert_eq!(*managers.current(), url("http://c:1"));
        managers.succeed();
        assert_eq!(managers.fail(Some(url("http://elsewhere:1"))), Round::HasMore);
        assert_eq!(*managers.current(), url("http://elsewhere:1"));
        managers.fail(None);
        assert_eq!(*managers.current(), url("http://a:1"), "a named one is asked once");
    }

    #[test]
    fn a_single_standby_that_names_an_unknown_one_is_followed_before_a_pause() {
        let mut managers = Managers::new(vec![url("http://a:1")]);
        assert_eq!(managers.fail(Some(url("http://elsewhere:1"))), Round::HasMore);
        assert_eq!(*managers.current(), url("http://elsewhere:1"));
        assert_eq!(managers.fail(Some(url("http://a:1"))), Round::IsOver);
        assert_eq!(*managers.current(), url("http://a:1"));
    }

    #[test]
    fn a_standby_with_old_news_does_not_keep_it_from_the_third() {
        let mut managers = managers();
        // a is a standby and says that c is active; c is gone; b took over.
        assert_eq!(managers.fail(Some(url("http://c:1"))), Round::HasMore);
        assert_eq!(*managers.current(), url("http://c:1"));
        assert_eq!(managers.fail(None), Round::HasMore);
        assert_eq!(*managers.current(), url("http://b:1"));
    }

    #[test]
    fn standbys_that_name_each_other_do_not_keep_it_busy() {
        let mut managers = managers();
        let over = (0..10).filter(|turn| {
            let other = if turn % 2 == 0 { "http://b:1" } else { "http://a:1" };
            managers.fail(Some(url(other))) == Round::IsOver
        });
        assert!(over.count() >= 3);
    }
}
