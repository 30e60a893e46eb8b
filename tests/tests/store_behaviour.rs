//! One behavioural suite, three back ends.

use npc_core::store::{ConditionalWrites, Options, StoreUrl, Token, open};
use npc_tests::behaviour::Subject;
use npc_tests::parts::{ACCESS_KEY, Garage, SECRET_KEY};
use npc_tests::world::{Kind, TOKEN, World};

async fn subject(url: &StoreUrl, writes: ConditionalWrites) -> Subject {
    let token = Token::new(TOKEN).expect("a token");
    let store = open(url, Options { token: Some(token), ..Options::default() }).await.expect("opened");
    Subject { store, writes }
}

macro_rules! all_behaviours {
    ($make:expr) => {
        npc_tests::store_behaviours! {
            an_absent_object_is_absent => absent,
            what_was_written_is_read_back => written,
            a_conditional_read_tells_changed_from_unchanged => unchanged,
            an_object_above_the_limit_is_not_taken_in => limited,
            conditional_writes_are_what_they_are_known_to_be => conditional,
            a_document_is_written_once => documents,
            a_listing_has_what_begins_with_its_prefix => listed,
            a_listing_says_when_objects_were_last_written => dated,
            a_listing_says_which_version_objects_have => versioned,
            large_objects_are_resumed_and_checked => large,
            no_write_is_lost_among_writers => contended;
            $make
        }
    };
}

mod directory {
    use super::*;

    async fn make() -> Option<(Subject, World)> {
        let world = World::new(&Kind::Directory);
        Some((subject(world.url(), ConditionalWrites::Enforced).await, world))
    }

    all_behaviours!(make());
}

mod served {
    use super::*;

    async fn make() -> Option<(Subject, World)> {
        let world = World::new(&Kind::Served);
        Some((subject(world.url(), ConditionalWrites::Enforced).await, world))
    }

    all_behaviours!(make());
}

mod garage {
    use super::*;

    async fn make() -> Option<(Subject, World)> {
        let garage = Garage::find()?;
        // The SDK's chain would look into the environment, which tests share: the test runner sets it for all of them.
        assert_eq!(std::env::var("AWS_ACCESS_KEY_ID").as_deref(), Ok(ACCESS_KEY), "set by `cargo xtask test`");
        assert_eq!(std::env::var("AWS_SECRET_ACCESS_KEY").as_deref(), Ok(SECRET_KEY), "set by `cargo xtask test`");
        let world = World::new(&Kind::Garage(garage));
        Some((subject(world.url(), ConditionalWrites::Ignored).await, world))
    }

    all_behaviours!(make());
}
