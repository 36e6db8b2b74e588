onmessage = () => { for (;;); };
