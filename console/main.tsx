import '@cloudscape-design/global-styles/index.css';
import { QueryClientProvider } from '@tanstack/react-query';
import { RouterProvider } from '@tanstack/react-router';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { setSignedOutListener } from './app/client.js';
import { queryClient } from './app/queryClient.js';
import { forgetSession } from './auth/session.js';
import { startTheme } from './layout/theme.js';
import { router } from './router.js';

startTheme();
setSignedOutListener(() => {
  const { pathname, href } = router.state.location;
  if (pathname === '/sign-in') return;
  forgetSession();
  void router.navigate({ to: '/sign-in', search: { returnTo: href } });
});

createRoot(document.getElementById('root')!).render(
  <StrictMode>
    <QueryClientProvider client={queryClient}>
      <RouterProvider router={router} />
    </QueryClientProvider>
  </StrictMode>,
);
