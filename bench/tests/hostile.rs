//! Attacks cost the attacker only: its neighbours' established flows lose no frame.

use weft_bench::hostile::{Attack, Siege};

#[test]
fn no_attack_costs_a_neighbour_a_frame() {
    for attack in Attack::ALL {
        let mut siege = Siege::new(attack);
        for _ in 0..20 {
            siege.attack(4_096);
            assert!(siege.go_on() > 1_000);
            siege.tick();
        }
        assert_eq!(siege.losses(), 0, "{}", attack.name());
    }
}
