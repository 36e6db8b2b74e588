onmessage = () => { const a = {}; a.a = a; postMessage({ body: a }); };
