C     Heat in a square plate whose rim is kept at 0: the explicit scheme on
C     N by N inner points, from sin(pi x) sin(pi y) at time 0.
C
C     Params: N, the diffusivity ALPHA, the time to compute until.
C     Value: the temperature in the middle, the mean, the steps it took.
C     Result file: /plate.csv, the temperatures at that time.
      PROGRAM HEAT
      INTEGER MAXN
      PARAMETER (MAXN = 511)
      DOUBLE PRECISION U(0:MAXN+1, 0:MAXN+1), V(0:MAXN+1, 0:MAXN+1)
      COMMON /PLATE/ U, V
      DOUBLE PRECISION ALPHA, UNTIL, R, MEAN, TOTAL
      INTEGER N, STEPS, I

      READ (*,*) N, ALPHA, UNTIL
      IF (N .LT. 3 .OR. N .GT. MAXN .OR. MOD(N, 2) .EQ. 0) THEN
        WRITE (0,*) 'heat: N must be odd, from 3 to', MAXN
        CALL EXIT(2)
      END IF

C     The scheme is stable for R up to 1/4.
      STEPS = INT(ALPHA * UNTIL * (N + 1)**2 / 0.2D0) + 1
      R = ALPHA * UNTIL * (N + 1)**2 / STEPS
      CALL START(N)
      DO 10 I = 1, STEPS
        CALL STEP(N, R)
   10 CONTINUE

      MEAN = TOTAL(N) / N**2
      CALL SAVEIT(N)
      WRITE (*, 100) U((N + 1) / 2, (N + 1) / 2), MEAN, STEPS
  100 FORMAT ('{"middle":', 1PE24.16E3, ', "mean":', 1PE24.16E3,
     +        ', "steps":', I9, '}')
      END


      SUBROUTINE SAVEIT(N)
      INTEGER MAXN, N, I, J
      PARAMETER (MAXN = 511)
      DOUBLE PRECISION U(0:MAXN+1, 0:MAXN+1), V(0:MAXN+1, 0:MAXN+1)
      COMMON /PLATE/ U, V
      OPEN (10, FILE='/plate.csv', STATUS='UNKNOWN')
      DO 10 J = 1, N
        WRITE (10, 100) (U(I, J), I = 1, N)
   10 CONTINUE
      CLOSE (10)
  100 FORMAT (1PE14.7, 510(:, ',', 1PE14.7))
      END
