/** Header of a workflow and of its activities: the id of the request of the API that started the workflow. */
export const REQUEST_ID_HEADER = 'polony-request-id';
