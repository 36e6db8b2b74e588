C     What happens on the plate: the start, a step in time, the sum.
      SUBROUTINE START(N)
      INTEGER MAXN, N, I, J
      PARAMETER (MAXN = 511)
      DOUBLE PRECISION U(0:MAXN+1, 0:MAXN+1), V(0:MAXN+1, 0:MAXN+1)
      COMMON /PLATE/ U, V
      DOUBLE PRECISION PI, H
      PI = 4 * ATAN(1D0)
      H = 1D0 / (N + 1)
      DO 20 J = 0, N + 1
        DO 10 I = 0, N + 1
          U(I, J) = SIN(PI * I * H) * SIN(PI * J * H)
          IF (I .EQ. 0 .OR. J .EQ. 0) U(I, J) = 0
          IF (I .EQ. N + 1 .OR. J .EQ. N + 1) U(I, J) = 0
          V(I, J) = U(I, J)
   10   CONTINUE
   20 CONTINUE
      END


      SUBROUTINE STEP(N, R)
      INTEGER MAXN, N, I, J
      PARAMETER (MAXN = 511)
      DOUBLE PRECISION U(0:MAXN+1, 0:MAXN+1), V(0:MAXN+1, 0:MAXN+1)
      COMMON /PLATE/ U, V
      DOUBLE PRECISION R
      DO 20 J = 1, N
        DO 10 I = 1, N
          V(I, J) = U(I, J) + R * (U(I-1, J) + U(I+1, J)
     +              + U(I, J-1) + U(I, J+1) - 4 * U(I, J))
   10   CONTINUE
   20 CONTINUE
      DO 40 J = 1, N
        DO 30 I = 1, N
          U(I, J) = V(I, J)
   30   CONTINUE
   40 CONTINUE
      END


      DOUBLE PRECISION FUNCTION TOTAL(N)
      INTEGER MAXN, N, I, J
      PARAMETER (MAXN = 511)
      DOUBLE PRECISION U(0:MAXN+1, 0:MAXN+1), V(0:MAXN+1, 0:MAXN+1)
      COMMON /PLATE/ U, V
      TOTAL = 0
      DO 20 J = 1, N
        DO 10 I = 1, N
          TOTAL = TOTAL + U(I, J)
   10   CONTINUE
   20 CONTINUE
      END
