/*
 * Prices a European call option by simulating where the share may stand in the end.
 *
 * Params: seed, paths, share price now, strike, interest rate, volatility (both per year), years.
 * Value: [paths, sum, sum of squares] of the discounted gains, so that runs can be put together.
 */
#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>

/* splitmix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014 */
static uint64_t state;

static uint64_t next(void) {
  uint64_t z = state += UINT64_C(0x9E3779B97F4A7C15);
  z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
  z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
  return z ^ z >> 31;
}

/* Uniform in (0, 1]. */
static double uniform(void) { return ((next() >> 11) + 1) * 0x1p-53; }

int main(void) {
  uint64_t seed, paths;
  double spot, strike, rate, volatility, years;
  if (scanf(" [ %" SCNu64 " , %" SCNu64 " , %lf , %lf , %lf , %lf , %lf ]", &seed, &paths, &spot,
            &strike, &rate, &volatility, &years) != 7) {
    fputs("option: params are seed, paths, spot, strike, rate, volatility, years\n", stderr);
    return 2;
  }
  /* seeds that are neighbours begin far from each other */
  state = seed;
  state = next();
  const double drift = (rate - volatility * volatility / 2) * years;
  const double spread = volatility * sqrt(years);
  const double discount = exp(-rate * years);
  double sum = 0, squares = 0;
  for (uint64_t path = 0; path < paths; path += 2) {
    /* Box and Muller, "A note on the generation of random normal deviates", 1958 */
    const double radius = sqrt(-2 * log(uniform()));
    const double angle = 6.283185307179586 * uniform();
    const double normal[2] = {radius * cos(angle), radius * sin(angle)};
    for (int i = 0; i < 2 && path + i < paths; i++) {
      const double gain = discount * fmax(spot * exp(drift + spread * normal[i]) - strike, 0);
      sum += gain;
      squares += gain * gain;
    }
  }
  printf("[%" PRIu64 ", %.17g, %.17g]\n", paths, sum, squares);
  return 0;
}
