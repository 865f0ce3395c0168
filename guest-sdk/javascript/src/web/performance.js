// `performance`, of which there is the clock.

let origin = 0;

/** The clock starts with the instance's first turn: before that there was only the build. */
export function startClock() {
  origin = Date.now();
}

export const performance = {
  get timeOrigin() {
    return origin;
  },
  now: () => Date.now() - origin,
};
