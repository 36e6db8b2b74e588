onmessage = () => {
  const again = () => { try { again(); } finally { again(); } };
  for (;;) { try { again(); } catch { /* and again */ } }
};
