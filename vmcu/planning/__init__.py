"""Which plan it is to be: lists schedules, estimates what they cost, places them, chooses; says what fills the pool."""
