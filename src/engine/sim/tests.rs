//! Many short histories: each law by name, and whole machines of actions that shrink to the few
//! that matter.

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use crate::engine::Engine;
use crate::engine::sim::{Action, Law, Random, World};

/// Runs a history of so many random actions.
fn run(seed: u64, actions: usize) -> World {
    let mut world = World::new(seed);
    let mut luck = Random::new(seed.rotate_left(17));
    for _ in 0..actions {
        world.act(&Action::random(&mut luck));
    }
    world.settle();
    world
}

/// A named law over histories of its own.
macro_rules! law {
    ($name:ident, $law:ident) => {
        #[test]
        fn $name() {
            let first = Law::$law as u64 * 1_000_000;
            for seed in first..first + 60 {
                let world = run(seed, 300);
                let broken: Vec<_> = world
                    .broken()
                    .iter()
                    .filter(|(law, _)| *law == Law::$law)
                    .collect();
                assert!(broken.is_empty(), "seed {seed}: {broken:#?}");
            }
        }
    };
}

law!(at_most_one_main_process_per_unit, OneMainProcess);
law!(
    nothing_starts_before_what_it_is_ordered_after_has_settled,
    OrderIsKept
);
law!(every_accepted_job_ends_exactly_once, JobsEndOnce);
law!(after_a_finished_stop_nothing_is_left, StopLeavesNothing);
law!(starts_stay_within_the_limit, StartLimit);
law!(a_stop_during_a_start_never_leaves_it_running, StopWins);
law!(a_paused_agent_is_left_alone, PausedIsLeftAlone);
law!(snapshot_restore_same_future, SameFuture);
law!(no_more_units_than_places_are_up, PlacesAreKept);
law!(a_start_that_can_run_runs, NothingWaitsForNothing);
law!(timers_are_set_and_no_others, TimersAreExact);

#[test]
fn the_same_events_through_a_fresh_engine_yield_the_same_effects() {
    for seed in 0..40 {
        let mut world = World::new(seed);
        let mut engine = Engine::new();
        for unit in world.units.clone() {
            let event = crate::engine::event::Event::Defined(Box::new(unit));
            let _ = engine.handle(world.clock(), event);
        }
        world.record();
        let mut luck = Random::new(seed);
        for _ in 0..400 {
            match Action::random(&mut luck) {
                Action::Crash => {}
                action => world.act(&action),
            }
        }
        for (now, event, effects) in world.told.take().unwrap() {
            // A recording is text.
            let text = serde_json::to_string(&event).unwrap();
            let again = serde_json::from_str(&text).unwrap();
            assert_eq!(engine.handle(now, again), effects, "seed {seed}: {event:?}");
        }
    }
}

#[test]
fn a_stop_at_any_moment_leaves_nothing() {
    for seed in 0..60 {
        let mut world = run(seed, 200);
        for _ in 0..3 {
            for unit in 0..world.units.len() {
                world.act(&Action::Stop(u8::try_from(unit).unwrap(), true));
            }
            world.settle();
        }
        assert_eq!(world.broken(), [], "seed {seed}");
        assert!(
            world.processes.is_empty(),
            "seed {seed}: {:?}",
            world.processes
        );
        assert!(world.timers.is_empty(), "seed {seed}: {:?}", world.timers);
    }
}

fn action() -> impl Strategy<Value = Action> {
    any::<u64>().prop_map(|bits| Action::random(&mut Random::new(bits)))
}

/// Actions need no model of their own: the laws are the model.
#[derive(Debug)]
pub struct Actions;

impl ReferenceStateMachine for Actions {
    type State = u64;
    type Transition = Action;

    fn init_state() -> BoxedStrategy<u64> {
        any::<u64>().boxed()
    }

    fn transitions(_: &u64) -> BoxedStrategy<Action> {
        action().boxed()
    }

    fn apply(seed: u64, _: &Action) -> u64 {
        seed
    }
}

impl StateMachineTest for World {
    type SystemUnderTest = World;
    type Reference = Actions;

    fn init_test(seed: &u64) -> World {
        World::new(*seed)
    }

    fn apply(mut world: World, _: &u64, action: Action) -> World {
        world.act(&action);
        world
    }

    fn check_invariants(world: &World, _: &u64) {
        assert_eq!(world.broken(), []);
    }

    fn teardown(mut world: World, _: u64) {
        world.settle();
        assert_eq!(world.broken(), []);
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        max_shrink_iters: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_law_holds_whatever_happens(sequential 1..200 => World);
}
