onmessage = ( => 1;
