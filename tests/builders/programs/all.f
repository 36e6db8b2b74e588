C     Calls everything of libf2c that a program may need.
      PROGRAM ALLOF
      CHARACTER*10 A, B*5, C*30, F*8
      COMPLEX Z, W
      DOUBLE COMPLEX ZD, WD
      INTEGER I, J, K
      INTEGER*2 I2, J2
      REAL X, Y, T(2)
      DOUBLE PRECISION D, E, DPROD
      LOGICAL L, LL
      NAMELIST /NL/ I, X
      A = 'abc'
      B = A(2:3)
      C = A // B // 'x'
      L = A .LT. B
      LL = LGE(A, B) .OR. LLT(A, B) .OR. LGT(A,B) .OR. LLE(A,B)
      I = INDEX(C, 'b') + LEN(C) + ICHAR('a')
      A(1:1) = CHAR(65)
      WRITE (*, *) A, B, C, L, LL, I
      J = MOD(I, 7) + ISIGN(3, -2) + IDIM(5, 3) + NINT(2.6) + I**3
      I2 = 3
      J2 = 5
      J2 = MOD(I2, J2) ** I2
      K = MAX(I, J) - MIN(1, 2) + IAND(I, 3) + IOR(I, 8) + ISHFT(I, 2)
     + + IBITS(I, 1, 3) + ISHFTC(I, 3, 8)
      WRITE (*, *) J, J2, K
      X = 2.5
      Y = X**I2 + X**2.5 + AMOD(X, 2.0) + SIGN(X, -1.0) + AINT(X)
     + + ANINT(X) + SQRT(X) + EXP(X) + ALOG(X) + ALOG10(X) + SIN(X)
     + + COS(X) + TAN(X) + ASIN(.5) + ACOS(.5) + ATAN(X) + ATAN2(X, 2.)
     + + SINH(X) + COSH(X) + TANH(X) + ABS(X) + DIM(X, 1.0)
      D = X
      E = D**I + D**D + DMOD(D, 2D0) + DSIGN(D, -1D0) + DINT(D)
     + + DNINT(D) + DSQRT(D) + DEXP(D) + DLOG(D) + DLOG10(D) + DSIN(D)
     + + DCOS(D) + DTAN(D) + DASIN(.5D0) + DACOS(.5D0) + DATAN(D)
     + + DATAN2(D, 1D0) + DSINH(D) + DCOSH(D) + DTANH(D) + DABS(D)
     + + DDIM(D, 1D0) + DPROD(X, X) + IDNINT(D)
      WRITE (*, '(F12.4, 1PE16.8)') Y, E
      Z = (1.0, 2.0)
      W = Z * Z / Z + Z**3 + Z**Z + CSQRT(Z) + CEXP(Z) + CLOG(Z)
     + + CSIN(Z) + CCOS(Z) + CONJG(Z) + CMPLX(AIMAG(Z), REAL(Z))
      ZD = (1D0, 2D0)
      WD = ZD / ZD + ZD**2 + ZD**ZD + CDSQRT(ZD) + CDEXP(ZD)
     + + CDLOG(ZD) + CDSIN(ZD) + CDCOS(ZD) + DCONJG(ZD)
      WRITE (*, '(5F12.4)') W, CABS(W), CDABS(WD)
      E = ERF(.5) + DERF(.5D0) + ERFC(.5) + DERFC(.5D0)
      WRITE (*, '(F12.6)') E
      WRITE (C, '(I5,F8.3)') I, X
      READ (C, '(I5)') K
      OPEN (10, FILE='/plain.dat', FORM='UNFORMATTED', STATUS='UNKNOWN')
      WRITE (10) I, X, D
      REWIND 10
      READ (10) J, Y, E
      BACKSPACE 10
      READ (10) J
      ENDFILE 10
      CLOSE (10, STATUS='DELETE')
      INQUIRE (FILE='/plain.dat', EXIST=L)
      WRITE (*, *) K, J, Y, E, L
      OPEN (11, STATUS='SCRATCH')
      WRITE (11, *) 'scratch', I
      WRITE (11, NL)
      REWIND (11)
      I = 0
      READ (11, *) F, K
      READ (11, NL)
      CLOSE (11)
      WRITE (*, *) F, K, I
      OPEN (12, FILE='/direct.dat', ACCESS='DIRECT', RECL=8,
     + FORM='UNFORMATTED')
      WRITE (12, REC=3) D
      READ (12, REC=3) E
      CLOSE (12)
      OPEN (13, FILE='/lines.dat', ACCESS='DIRECT', RECL=20,
     + FORM='FORMATTED')
      WRITE (13, '(F10.4)', REC=2) D
      READ (13, '(F10.4)', REC=2) X
      INQUIRE (13, OPENED=LL, NEXTREC=K)
      CLOSE (13)
      WRITE (*, *) E, X, LL, K
      CALL GETARG(1, A)
      B = '?'
      CALL GETENV('HOME', B)
      WRITE (*, *) A, '[', B, ']', IARGC()
      OPEN (14, FILE='/listed.txt', STATUS='UNKNOWN')
      WRITE (14, *) 'listed ', IARGC(), ' words'
      CLOSE (14)
      Y = ETIME(T) + DTIME(T)
      WRITE (*, NL)
      IF (Y .GE. 0) CALL EXIT(3)
      END
